-- The slots of a family, in the order of their ids.
SELECT digest, key, coalesce(lease_until > {now}, false) FROM kck_refresh
WHERE key_base = %(key_base)s AND (%(args)s::jsonb IS NULL OR args @> %(args)s::jsonb) ORDER BY id FOR UPDATE
