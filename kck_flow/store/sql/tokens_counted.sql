-- What changes whenever a stock or flow does, as a page shows it: a sum over its levels and over what waits to be folded
-- into them, each row weighted by a hash of where it counts. A fold moves rows from one to the other and leaves the sum as
-- it is; a row that only changes its facet value does not. Of a flow the windows of the last days.
WITH asked AS (
    SELECT a.place, g.generation, g.primed_at, g.token, kck_digest(kck_args(a.args)) AS digest
    FROM unnest(%(bases)s::text[], %(args)s::jsonb[]) WITH ORDINALITY AS a (base, args, place)
    JOIN kck_generation g ON g.key_base = a.base AND g.live
), parts AS (
    SELECT a.place, l.facet, l.facet_value, l.start_at, l.n, l.amount FROM asked a
    JOIN kck_level l ON l.generation = a.generation AND l.args_digest = a.digest
     AND (l.start_at = '-infinity' OR l.start_at > {now} - interval '40 days')
    UNION ALL
    SELECT a.place, d.facet, d.facet_value, coalesce(d.start_at, '-infinity'), d.n, d.amount FROM asked a
    JOIN kck_delta d ON d.generation = a.generation AND d.args_digest = a.digest
     AND (d.start_at IS NULL OR d.start_at > {now} - interval '40 days')
), summed AS (
    SELECT place, trim_scale(sum(n * weight)) AS rows, trim_scale(sum(amount * weight)) AS amount
    FROM (SELECT *, (hashtextextended(concat_ws('|', facet, facet_value, start_at AT TIME ZONE 'UTC'), 0) %% 1000003)::numeric AS weight
          FROM parts WHERE start_at <= {now}) AS weighed GROUP BY place
)
SELECT a.place, concat_ws('|', a.primed_at IS NOT NULL, a.token,
    EXISTS (SELECT 1 FROM kck_delta d WHERE d.generation = a.generation AND d.args_digest = '00000000-0000-0000-0000-000000000000'),
    coalesce(s.rows, 0), coalesce(s.amount, 0))
FROM asked a LEFT JOIN summed s ON s.place = a.place
