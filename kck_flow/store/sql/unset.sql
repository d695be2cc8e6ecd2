-- Leave a tombstone: versions never restart, and a computation that began before is refused, a first one too.
WITH old AS (SELECT state FROM kck_product WHERE digest = %(digest)s)
INSERT INTO kck_product AS p (digest, key, key_base, params, state, version, epoch)
VALUES (%(digest)s, %(key)s, %(key_base)s, %(params)s::jsonb, 'unset', 0, 1)
ON CONFLICT (digest) DO UPDATE SET state = 'unset', value = NULL, public = NULL, epoch = p.epoch + 1, invalid_at = NULL, applied = NULL,
    version = p.version + (p.state <> 'unset')::int
RETURNING p.version, coalesce((SELECT state <> 'unset' FROM old), false)
