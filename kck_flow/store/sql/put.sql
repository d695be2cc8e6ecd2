-- Publish a computed value. The row must be the one the compute began from (version and epoch). A value whose sources
-- moved meanwhile is kept, but not as fresh. An equal value keeps its version and wakes nobody.
-- {gate} is the slot that must be ours, where the same statement ends it.
-- Not every mark says that a source moved: what was computed on the way to this value, for this value, marked it too.
-- `contained`: the mark came from something that it was made from, by way of what it has read, and all of that is still
-- as it was read; `unread` names the sources that are declared and were not read, whose marks always count.
WITH RECURSIVE own AS (
    SELECT id, kind, source FROM kck_pending WHERE key_base = %(key_base)s AND digest = %(digest)s AND kind <> 'change'
), above AS (
    SELECT e.upstream, e.upstream_key FROM kck_edge e
    WHERE %(sourced)s AND e.downstream = %(digest)s AND EXISTS (SELECT 1 FROM own)
    UNION
    SELECT e.upstream, e.upstream_key FROM kck_edge e JOIN above a ON e.downstream = a.upstream
), contained AS (
    SELECT o.id FROM own o
    WHERE o.source IN (SELECT upstream_key FROM above) AND split_part(o.source, '/', 1) <> ALL(%(unread)s::text[])
      AND NOT EXISTS (
        SELECT 1 FROM kck_edge e LEFT JOIN kck_product u ON u.digest = e.upstream
        WHERE e.downstream = %(digest)s AND (u.version IS DISTINCT FROM e.version_read OR u.invalid_at IS NOT NULL
          OR EXISTS (SELECT 1 FROM kck_pending q WHERE q.key_base = u.key_base AND q.kind = 'stale'
               AND (q.digest = u.digest OR q.digest IS NULL AND (q.args IS NULL OR u.params @> q.args))
               AND NOT coalesce(u.pending_seen @> to_jsonb(q.id), false))))
), moved AS (
    SELECT bool_or(q.kind = 'stale') AS stale, count(*) > 0 AS wanted
    FROM (
        SELECT kind FROM own WHERE id NOT IN (SELECT id FROM contained)
        UNION ALL
        SELECT kind FROM kck_pending
        WHERE key_base = %(key_base)s AND digest IS NULL AND (args IS NULL OR %(params)s::jsonb @> args)
          AND NOT coalesce(%(seen)s::jsonb @> to_jsonb(id), false)
        UNION ALL
        SELECT 'stale' WHERE %(moved)s
    ) q
)
INSERT INTO kck_product AS p
    (digest, key, key_base, params, value, public, state, version, epoch, primer_version, sourced, pending_seen,
     computed_at, soft_expires_at, hard_expires_at, invalid_at, read_at)
SELECT %(digest)s, %(key)s, %(key_base)s, %(params)s::jsonb, %(value)s::jsonb, %(public)s::jsonb, %(state)s,
       %(version)s + 1, %(epoch)s, %(primer_version)s, %(sourced)s,
       coalesce(%(seen)s::jsonb, '[]') || coalesce((SELECT jsonb_agg(id) FROM contained), '[]'),
       {at}, CASE WHEN m.wanted THEN {at} ELSE {at} + %(soft)s * interval '1 second' END,
       {at} + %(hard)s * interval '1 second', CASE WHEN m.stale THEN {at} END, ({at})::date
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
RETURNING p.version, p.version <> %(version)s AS changed, p.soft_expires_at <= {at} OR p.invalid_at IS NOT NULL AS stale,
          extract(epoch FROM p.computed_at)::float8 AS computed, extract(epoch FROM p.soft_expires_at)::float8 AS soft,
          extract(epoch FROM p.hard_expires_at)::float8 AS hard, p.invalid_at IS NOT NULL AS invalid
