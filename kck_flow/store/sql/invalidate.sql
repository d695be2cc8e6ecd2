-- Nothing older is served from here on. The row is made where there is none: a first computation that began before
-- must find another epoch when it publishes.
INSERT INTO kck_product AS p (digest, key, key_base, params, state, version, epoch, invalid_at)
VALUES (%(digest)s, %(key)s, %(key_base)s, %(params)s::jsonb, 'unset', 0, 1, {now})
ON CONFLICT (digest) DO UPDATE SET epoch = p.epoch + 1, invalid_at = coalesce(p.invalid_at, {now})
RETURNING p.version, p.state <> 'unset'
