-- Of what is dated, that which came about a minute ago and earlier is gathered: a read sums up what is left. (A clock that
-- was set back by less brings nothing on again.) No more than
-- so many at a time, of families that nobody counts.
WITH fence AS MATERIALIZED (
    SELECT g.generation FROM kck_generation g
    WHERE g.token IS NULL AND g.live AND (g.definition ->> 'begins' IS NOT NULL OR g.definition ->> 'ends' IS NOT NULL)
    ORDER BY g.generation FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM kck_level WHERE (generation, args_digest, start_at, facet, value_digest) IN (
        SELECT x.generation, x.args_digest, x.start_at, x.facet, x.value_digest FROM fence f CROSS JOIN LATERAL (
            SELECT * FROM kck_level l WHERE l.generation = f.generation AND l.start_at > '-infinity'
              AND l.start_at <= {now} - interval '1 minute' LIMIT 20000) x)
    RETURNING generation, args_digest, facet, value_digest, args, facet_value, n, amount
), net AS (
    SELECT generation, args_digest, facet, value_digest, (array_agg(args))[1] AS args,
           (array_agg(facet_value))[1] AS facet_value, sum(n)::bigint AS n, sum(amount) AS amount
    FROM gone GROUP BY 1, 2, 3, 4 HAVING sum(n) <> 0 OR sum(amount) <> 0
), put AS (
    INSERT INTO kck_level AS l (generation, args_digest, facet, value_digest, start_at, args, facet_value, n, amount)
    SELECT generation, args_digest, facet, value_digest, '-infinity', args, facet_value, n, amount FROM net
    ORDER BY generation, args_digest, facet, value_digest
    ON CONFLICT (generation, args_digest, facet, value_digest, start_at) DO UPDATE SET
        n = l.n + EXCLUDED.n, amount = CASE WHEN EXCLUDED.amount IS NULL THEN l.amount ELSE coalesce(l.amount, 0) + EXCLUDED.amount END
    RETURNING l.generation, l.n
)
SELECT x.key_base, x.args, x.dates, (SELECT array_agg(DISTINCT generation) FROM put WHERE n = 0) FROM (
    SELECT g.key_base, o.args, count(*) AS dates FROM gone o JOIN kck_generation g USING (generation) GROUP BY 1, 2) x
