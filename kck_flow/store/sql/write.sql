-- Set a product by hand, in the caller's transaction, with the marks of everything whose computation has read it (see
-- function_mark_below.sql). The version grows by one; a computation that began before finds another version and is
-- refused. With `expected`, only over that version (0: only where nothing is stored). The marks of the product itself
-- are answered by what is set (SKIP LOCKED: a drain that has them in hand must not be waited for; it finds them seen).
WITH put AS (
    INSERT INTO kck_product AS p
        (digest, key, key_base, params, value, public, state, version, epoch, primer_version, pending_seen, computed_at,
         soft_expires_at, hard_expires_at, read_at)
    SELECT %(digest)s, %(key)s, %(key_base)s, %(params)s::jsonb, %(value)s::jsonb, %(public)s::jsonb, %(state)s, 1, 0,
           %(primer_version)s,
           (SELECT jsonb_agg(q.id) FROM kck_pending q
             WHERE q.key_base = %(key_base)s AND (q.digest IS NULL OR q.digest = %(digest)s AND q.kind <> 'change')),
           {at}, {at} + %(soft)s * interval '1 second', {at} + %(hard)s * interval '1 second', ({at})::date
    WHERE %(expected)s::bigint IS NULL OR %(expected)s::bigint = 0
       OR EXISTS (SELECT 1 FROM kck_product WHERE digest = %(digest)s)
    ON CONFLICT (digest) DO UPDATE SET
        version = p.version + 1,
        value = EXCLUDED.value, public = EXCLUDED.public, state = EXCLUDED.state, primer_version = EXCLUDED.primer_version,
        computed_at = EXCLUDED.computed_at, soft_expires_at = EXCLUDED.soft_expires_at, pending_seen = EXCLUDED.pending_seen,
        hard_expires_at = EXCLUDED.hard_expires_at, invalid_at = NULL, applied = NULL
    WHERE %(expected)s::bigint IS NULL OR p.version = %(expected)s::bigint
       OR (%(expected)s::bigint = 0 AND p.state = 'unset')
    RETURNING p.version, p.computed_at, p.soft_expires_at, p.hard_expires_at, p.epoch
), answered AS (
    DELETE FROM kck_pending WHERE EXISTS (SELECT 1 FROM put) AND id IN (
        SELECT id FROM kck_pending WHERE key_base = %(key_base)s AND digest = %(digest)s FOR UPDATE SKIP LOCKED)
)
SELECT version, extract(epoch FROM computed_at)::float8, extract(epoch FROM soft_expires_at)::float8,
       extract(epoch FROM hard_expires_at)::float8, false, kck_mark_below(%(digest)s, %(key)s, 'set'), epoch
FROM put
