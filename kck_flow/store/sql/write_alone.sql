-- Set a product that nothing is on its way to: the common case, without the plan of the other (write.sql). No row: that
-- is not so.
INSERT INTO kck_product AS p
    (digest, key, key_base, params, value, public, state, version, epoch, primer_version, computed_at, soft_expires_at,
     hard_expires_at, read_at)
SELECT %(digest)s, %(key)s, %(key_base)s, %(params)s::jsonb, %(value)s::jsonb, %(public)s::jsonb, %(state)s, 1, 0,
       %(primer_version)s, {at}, {at} + %(soft)s * interval '1 second', {at} + %(hard)s * interval '1 second', ({at})::date
WHERE NOT EXISTS (SELECT 1 FROM kck_pending WHERE key_base = %(key_base)s AND (digest = %(digest)s OR digest IS NULL))
ON CONFLICT (digest) DO UPDATE SET
    version = p.version + 1,
    value = EXCLUDED.value, public = EXCLUDED.public, state = EXCLUDED.state, primer_version = EXCLUDED.primer_version,
    computed_at = EXCLUDED.computed_at, soft_expires_at = EXCLUDED.soft_expires_at,
    hard_expires_at = EXCLUDED.hard_expires_at, invalid_at = NULL, applied = NULL
RETURNING p.version, extract(epoch FROM p.computed_at)::float8, extract(epoch FROM p.soft_expires_at)::float8,
          extract(epoch FROM p.hard_expires_at)::float8, false, kck_mark_below(p.digest, p.key, 'set'), p.epoch
