-- What a long recount finds, put where no reader looks; a {recount} is one pass over the table.
INSERT INTO kck_recounted (generation, token, args, start_at, facet, facet_value, n, amount)
SELECT %(generation)s, %(token)s, c.args, c.start_at, c.facet, c.facet_value, c.n, c.amount FROM ({recount}) c WHERE c.n <> 0 OR c.amount <> 0
