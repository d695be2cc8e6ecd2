-- It lives longer, or shorter; what has expired is not revived.
UPDATE kck_product SET hard_expires_at = {now} + %(seconds)s::float8 * interval '1 second'
WHERE digest = %(digest)s AND state = 'value' AND (hard_expires_at IS NULL OR hard_expires_at > {now}) RETURNING 1
