-- What says that the sources of a computation have moved since it began: the marks of its product, and of its family.
-- Not every mark says that a source moved: what was computed on the way to this value, for this value, marked it too.
-- `contained`: the mark came from something that it was made from, by way of what it has read, and all of that is still
-- as it was read; `unread` names the sources that are declared and were not read, whose marks always count; so do those of
-- stocks and flows that were read, which have no version to be still the same.
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
      AND NOT EXISTS (SELECT 1 FROM kck_edge e WHERE e.downstream = %(digest)s AND e.version_read IS NULL AND e.upstream_key = o.source)
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
