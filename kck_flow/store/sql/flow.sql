-- What a flow has counted, in one statement: its levels and what is not folded into them yet. `{step}` is what the windows
-- are gathered by: nothing, or the beginning of a coarser one. No row: no capture of this definition is known here.
-- Facets below zero come with any: changes whose states could not be told.
WITH asked AS (
    SELECT kck_digest(kck_args(%(args)s::jsonb)) AS digest
), parts AS (
    SELECT l.start_at, l.facet, l.facet_value, l.n FROM kck_level l, asked a
    WHERE l.generation = %(generation)s AND l.args_digest = a.digest AND l.start_at >= %(start)s AND l.start_at < %(end)s
      AND (%(facet)s::smallint IS NULL OR l.facet = %(facet)s OR l.facet < 0)
    UNION ALL
    SELECT d.start_at, d.facet, d.facet_value, d.n FROM kck_delta d, asked a
    WHERE d.generation = %(generation)s AND d.args_digest = a.digest AND d.start_at >= %(start)s AND d.start_at < %(end)s
      AND (%(facet)s::smallint IS NULL OR d.facet = %(facet)s OR d.facet < 0)
)
SELECT extract(epoch FROM g.made_at)::float8, g.captured,
       (SELECT count(*) FROM kck_delta d, asked a WHERE d.generation = g.generation AND d.args_digest = a.digest),
       extract(epoch FROM {now})::float8,
       (SELECT jsonb_agg(jsonb_build_array(s.facet, s.facet_value, s.n, extract(epoch FROM s.step))) FROM (
           SELECT {step} AS step, facet, facet_value, sum(n) AS n FROM parts GROUP BY 1, 2, 3) s)
FROM kck_generation g WHERE g.generation = %(generation)s AND g.live
