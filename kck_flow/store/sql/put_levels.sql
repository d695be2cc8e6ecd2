-- What was counted, in place of what was there.
INSERT INTO kck_level (generation, args_digest, facet, value_digest, start_at, args, facet_value, n, amount)
SELECT %(generation)s, kck_digest(c.args), c.facet, kck_digest(c.facet_value), c.start_at, c.args, c.facet_value, c.n, c.amount
FROM ({recount}) c WHERE c.n <> 0 OR c.amount <> 0
