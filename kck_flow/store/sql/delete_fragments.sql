-- Gone; 1 for each that could still be seen.
DELETE FROM kck_product WHERE digest = ANY(%(digests)s::uuid[])
RETURNING (state = 'value' AND (hard_expires_at IS NULL OR hard_expires_at > {now}))::int
