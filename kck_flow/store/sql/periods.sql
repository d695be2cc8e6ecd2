-- The recorded periods of a family that begin within [start, end), and the last before, with what one key held in each:
-- the current revisions. `marker` has a record in each period, the key where it held anything.
SELECT extract(epoch FROM m.start_at)::float8, extract(epoch FROM m.end_at)::float8, m.generation, k.value, k.digest IS NOT NULL
FROM (
    SELECT DISTINCT ON (start_at) start_at, end_at, generation FROM kck_record
    WHERE digest = %(marker)s AND facet = '' AND start_at < %(end)s
      AND start_at >= coalesce((SELECT max(start_at) FROM kck_record WHERE digest = %(marker)s AND facet = '' AND start_at <= %(start)s), %(start)s)
    ORDER BY start_at, revision DESC
) m LEFT JOIN LATERAL (
    SELECT r.digest, r.value FROM kck_record r WHERE r.digest = %(digest)s AND r.facet = '' AND r.start_at = m.start_at
    ORDER BY r.revision DESC LIMIT 1
) k ON true
ORDER BY m.start_at
