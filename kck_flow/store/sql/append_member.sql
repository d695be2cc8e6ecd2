-- A row that Python has seen come into a stock, or leave it: a delta for the total and for each facet. In force or not: what
-- was open when the definition came into force must not be missing in what is counted then.
INSERT INTO kck_delta (generation, args_digest, args, facet, facet_value, at, n)
SELECT %(generation)s, kck_digest(m.args), m.args, v.place - 1, v.value, transaction_timestamp(), %(n)s
FROM (SELECT %(args)s::jsonb AS args) m
CROSS JOIN jsonb_array_elements('[null]'::jsonb || %(facets)s::jsonb) WITH ORDINALITY AS v (value, place)
