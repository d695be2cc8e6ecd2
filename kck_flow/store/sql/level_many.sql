-- What many keys of counted families hold, in one statement and snapshot; see level.sql. A row for each whose definition is
-- in force, with its place among those asked.
WITH asked AS (
    SELECT a.place, a.generation, kck_digest(kck_args(a.args)) AS digest,
           CASE WHEN a.timed THEN {now} ELSE '-infinity'::timestamptz END AS upto
    FROM unnest(%(generations)s::bigint[], %(args)s::jsonb[], %(timed)s::boolean[])
         WITH ORDINALITY AS a (generation, args, timed, place)
), parts AS (
    SELECT a.place, l.facet, l.facet_value, l.n, l.amount, 0 AS waiting FROM asked a
    JOIN kck_level l ON l.generation = a.generation AND l.args_digest = a.digest AND l.start_at <= a.upto
    UNION ALL
    SELECT a.place, d.facet, d.facet_value, d.n, d.amount, 1 FROM asked a
    JOIN kck_delta d ON d.generation = a.generation AND d.args_digest = a.digest AND coalesce(d.start_at, '-infinity') <= a.upto
), summed AS (
    SELECT place, facet, facet_value, sum(n) AS n, sum(amount) AS amount, sum(waiting) AS waiting FROM parts
    GROUP BY place, facet, facet_value
), told AS (
    SELECT place, sum(waiting)::bigint AS waiting,
           jsonb_agg(jsonb_build_array(facet, facet_value, n, amount)) FILTER (WHERE n <> 0) AS rows
    FROM summed GROUP BY place
)
SELECT a.place, extract(epoch FROM g.primed_at)::float8, g.captured, g.token,
       EXISTS (SELECT 1 FROM kck_delta d WHERE d.generation = g.generation AND d.args_digest = '00000000-0000-0000-0000-000000000000'),
       coalesce(t.waiting, 0), extract(epoch FROM {now})::float8, t.rows
FROM asked a JOIN kck_generation g ON g.generation = a.generation AND g.live LEFT JOIN told t ON t.place = a.place
