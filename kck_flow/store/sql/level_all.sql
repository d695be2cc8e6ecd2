-- What every key of a counted family holds that holds anything, in one statement and snapshot; see level.sql. Where no key
-- does, one row without one.
WITH asked AS (
    SELECT CASE WHEN %(timed)s THEN {now} ELSE '-infinity'::timestamptz END AS upto
), parts AS (
    SELECT args_digest, args, facet, facet_value, n, amount FROM kck_level, asked
    WHERE generation = %(generation)s AND start_at <= upto
    UNION ALL
    SELECT args_digest, args, facet, facet_value, n, amount FROM kck_delta, asked
    WHERE generation = %(generation)s AND coalesce(start_at, '-infinity') <= upto AND kind = 'add'
), summed AS (
    SELECT args_digest, (array_agg(args))[1] AS args, facet, facet_value, sum(n) AS n, sum(amount) AS amount FROM parts
    GROUP BY args_digest, facet, facet_value HAVING sum(n) <> 0
), told AS (
    SELECT (array_agg(args))[1] AS args, jsonb_agg(jsonb_build_array(facet, facet_value, n, amount)) AS rows FROM summed
    GROUP BY args_digest
)
SELECT extract(epoch FROM g.primed_at)::float8, g.captured, g.token,
       EXISTS (SELECT 1 FROM kck_delta d WHERE d.generation = g.generation AND d.args_digest = '00000000-0000-0000-0000-000000000000'),
       0, extract(epoch FROM {now})::float8, t.rows, t.args
FROM kck_generation g LEFT JOIN told t ON true WHERE g.generation = %(generation)s AND g.live
