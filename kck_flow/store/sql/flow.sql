-- What a flow has counted, in one statement: its levels and what is not folded into them yet. `{step}` is what the windows
-- are gathered by: nothing, or the beginning of a coarser one. No row: no capture of this definition is known here.
-- Last, when transitions were missed within these bounds.
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
SELECT extract(epoch FROM g.made_at)::float8, extract(epoch FROM g.history_at)::float8,
       (SELECT count(*) FROM kck_delta d, asked a WHERE d.generation = g.generation AND d.args_digest = a.digest),
       extract(epoch FROM {now})::float8,
       (SELECT jsonb_agg(jsonb_build_array(s.facet, s.facet_value, s.n, extract(epoch FROM s.step))) FROM (
           SELECT {step} AS step, facet, facet_value, sum(n) AS n FROM parts GROUP BY 1, 2, 3) s),
       (SELECT jsonb_agg(jsonb_build_array(extract(epoch FROM p.start_at), extract(epoch FROM p.end_at)) ORDER BY p.start_at)
        FROM kck_gap p WHERE p.generation = g.generation AND p.start_at < %(end)s AND coalesce(p.end_at, 'infinity') > %(start)s
          AND coalesce(p.end_at, 'infinity') > least(g.made_at, g.history_at))
FROM kck_generation g WHERE g.generation = %(generation)s AND g.live
