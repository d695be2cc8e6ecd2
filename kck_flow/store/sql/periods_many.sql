-- The recorded periods of many stocks within [start, end), and the last before, each with what one key held; see periods.sql.
SELECT a.place, extract(epoch FROM m.start_at)::float8, extract(epoch FROM m.end_at)::float8, m.generation, k.value, k.digest IS NOT NULL
FROM unnest(%(digests)s::uuid[], %(markers)s::uuid[]) WITH ORDINALITY AS a (digest, marker, place) CROSS JOIN LATERAL (
    SELECT DISTINCT ON (r.start_at) r.start_at, r.end_at, r.generation FROM kck_record r
    WHERE r.digest = a.marker AND r.facet = '' AND r.start_at < %(end)s
      AND r.start_at >= coalesce((SELECT max(start_at) FROM kck_record WHERE digest = a.marker AND facet = '' AND start_at <= %(start)s), %(start)s)
    ORDER BY r.start_at, r.revision DESC
) m LEFT JOIN LATERAL (
    SELECT r.digest, r.value FROM kck_record r WHERE r.digest = a.digest AND r.facet = '' AND r.start_at = m.start_at
    ORDER BY r.revision DESC LIMIT 1
) k ON true
ORDER BY a.place, m.start_at
