-- One of them, held until the transaction ends, and how long it has left.
SELECT value::text, extract(epoch FROM hard_expires_at - {now})::float8 FROM kck_product
WHERE digest = %(digest)s AND state = 'value' AND (hard_expires_at IS NULL OR hard_expires_at > {now}) FOR UPDATE
