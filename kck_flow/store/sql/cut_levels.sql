-- Both together are the levels.
INSERT INTO kck_level (generation, args_digest, facet, value_digest, start_at, args, facet_value, n, amount)
SELECT %(generation)s, kck_digest(args), facet, kck_digest(facet_value), start_at, (array_agg(args))[1],
       (array_agg(facet_value))[1], sum(n), sum(amount)
FROM kck_recounted WHERE generation = %(generation)s AND token = %(token)s
GROUP BY kck_digest(args), start_at, facet, kck_digest(facet_value)
HAVING sum(n) <> 0 OR sum(amount) <> 0
