-- Publish a computed value. The row must be the one the compute began from (version and epoch). A value whose sources
-- moved meanwhile is kept, but not as fresh. An equal value keeps its version and wakes nobody.
-- {gate} is the slot that must be ours, where the same statement ends it.
WITH moved AS (
    SELECT bool_or(q.kind = 'stale') AS stale, count(*) > 0 AS wanted
    FROM (
        SELECT kind FROM kck_pending WHERE key_base = %(key_base)s AND digest = %(digest)s AND kind <> 'change'
        UNION ALL
        SELECT kind FROM kck_pending
        WHERE key_base = %(key_base)s AND digest IS NULL AND (args IS NULL OR %(params)s::jsonb @> args)
          AND NOT coalesce(%(seen)s::jsonb @> to_jsonb(id), false)
        UNION ALL
        SELECT 'stale' FROM kck_edge e JOIN kck_product u ON u.digest = e.upstream
        WHERE %(sourced)s AND e.downstream = %(digest)s AND e.version_read IS NOT NULL AND u.version <> e.version_read
    ) q
)
INSERT INTO kck_product AS p
    (digest, key, key_base, params, value, public, state, version, epoch, primer_version, sourced, pending_seen,
     computed_at, soft_expires_at, hard_expires_at, invalid_at, read_at)
SELECT %(digest)s, %(key)s, %(key_base)s, %(params)s::jsonb, %(value)s::jsonb, %(public)s::jsonb, %(state)s,
       %(version)s + 1, %(epoch)s, %(primer_version)s, %(sourced)s, %(seen)s::jsonb,
       {now}, CASE WHEN m.wanted THEN {now} ELSE {now} + %(soft)s * interval '1 second' END,
       {now} + %(hard)s * interval '1 second', CASE WHEN m.stale THEN {now} END, ({now})::date
FROM moved m{gate}
ON CONFLICT (digest) DO UPDATE SET
    version = CASE WHEN p.state = EXCLUDED.state AND p.value IS NOT DISTINCT FROM EXCLUDED.value AND p.primer_version = EXCLUDED.primer_version
              THEN p.version ELSE p.version + 1 END,
    key = EXCLUDED.key, key_base = EXCLUDED.key_base, params = EXCLUDED.params,
    value = EXCLUDED.value, public = EXCLUDED.public, state = EXCLUDED.state,
    primer_version = EXCLUDED.primer_version, sourced = EXCLUDED.sourced, pending_seen = EXCLUDED.pending_seen,
    computed_at = EXCLUDED.computed_at, soft_expires_at = EXCLUDED.soft_expires_at,
    hard_expires_at = EXCLUDED.hard_expires_at, invalid_at = EXCLUDED.invalid_at
WHERE p.version = %(version)s AND p.epoch = %(epoch)s
RETURNING p.version, p.version <> %(version)s AS changed, p.soft_expires_at <= {now} OR p.invalid_at IS NOT NULL AS stale,
          extract(epoch FROM p.computed_at)::float8 AS computed, extract(epoch FROM p.soft_expires_at)::float8 AS soft,
          extract(epoch FROM p.hard_expires_at)::float8 AS hard, p.invalid_at IS NOT NULL AS invalid
