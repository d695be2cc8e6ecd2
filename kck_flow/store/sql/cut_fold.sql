-- The deltas that the recount's snapshot sees are in what it will find: they are taken, and added to the levels that readers
-- have until then. Of a family that was never counted nobody reads any.
WITH taken AS (
    DELETE FROM kck_delta WHERE generation = %(generation)s AND kind = 'add'
    RETURNING args_digest, args, facet, facet_value, start_at, n, amount
), net AS (
    SELECT args_digest, facet, kck_digest(facet_value) AS value_digest, coalesce(start_at, '-infinity') AS start_at,
           (array_agg(args))[1] AS args,
           (array_agg(facet_value))[1] AS facet_value, sum(n)::bigint AS n, sum(amount) AS amount
    FROM taken WHERE %(primed)s GROUP BY 1, 2, 3, 4
    HAVING sum(n) <> 0 OR sum(amount) <> 0
)
INSERT INTO kck_level AS l (generation, args_digest, facet, value_digest, start_at, args, facet_value, n, amount)
SELECT %(generation)s, args_digest, facet, value_digest, start_at, args, facet_value, n, amount FROM net
ORDER BY args_digest, facet, value_digest, start_at
ON CONFLICT (generation, args_digest, facet, value_digest, start_at) DO UPDATE SET
    n = l.n + EXCLUDED.n, amount = CASE WHEN EXCLUDED.amount IS NULL THEN l.amount ELSE coalesce(l.amount, 0) + EXCLUDED.amount END
