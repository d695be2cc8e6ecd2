-- Served still, but wanted anew.
UPDATE kck_product SET soft_expires_at = LEAST(soft_expires_at, {now}) WHERE digest = ANY(%(digests)s)
