-- What many flows have counted step by step, in one statement and snapshot, each at one key and in all (no facet); see flow.sql.
-- A row for each whose definition is in force, with its place among those asked. Facet -1: changes whose states could not be told.
WITH asked AS (
    SELECT a.place, a.generation, kck_digest(kck_args(a.args)) AS digest
    FROM unnest(%(generations)s::bigint[], %(args)s::jsonb[]) WITH ORDINALITY AS a (generation, args, place)
), parts AS (
    SELECT a.place, c.start_at, c.facet, c.n FROM asked a CROSS JOIN LATERAL (
        SELECT start_at, facet, n FROM kck_level l
        WHERE l.generation = a.generation AND l.args_digest = a.digest AND l.facet <= 0 AND l.start_at >= %(start)s AND l.start_at < %(end)s
        UNION ALL
        SELECT start_at, facet, n FROM kck_delta d
        WHERE d.generation = a.generation AND d.args_digest = a.digest AND d.facet <= 0 AND d.start_at >= %(start)s AND d.start_at < %(end)s) c
), summed AS (
    SELECT place, facet, {step} AS step, sum(n) AS n FROM parts GROUP BY 1, 2, 3
)
SELECT a.place, extract(epoch FROM g.made_at)::float8, extract(epoch FROM g.history_at)::float8, 0, extract(epoch FROM {now})::float8,
       (SELECT jsonb_agg(jsonb_build_array(s.facet, NULL, s.n, extract(epoch FROM s.step))) FROM summed s WHERE s.place = a.place),
       (SELECT jsonb_agg(jsonb_build_array(extract(epoch FROM p.start_at), extract(epoch FROM p.end_at)) ORDER BY p.start_at)
        FROM kck_gap p WHERE p.generation = g.generation AND p.start_at < %(end)s AND coalesce(p.end_at, 'infinity') > %(start)s
          AND coalesce(p.end_at, 'infinity') > least(g.made_at, g.history_at))
FROM asked a JOIN kck_generation g ON g.generation = a.generation AND g.live
