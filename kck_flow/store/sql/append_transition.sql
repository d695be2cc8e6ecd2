-- One transition that Python has seen, a delta for each facet: the total, those of the row, those of the ends. What lies
-- before 1900, or more than a day ahead, counts as of the transaction, as it does in a trigger.
INSERT INTO kck_delta (generation, args_digest, args, facet, facet_value, start_at, at, n)
SELECT g.generation, kck_digest(m.args), m.args, v.place - 1 + %(first)s::smallint, v.value, {window}, transaction_timestamp(), 1
FROM kck_generation g
CROSS JOIN (
    SELECT %(args)s::jsonb AS args,
           CASE WHEN t.given BETWEEN '1900-01-01Z'::timestamptz AND transaction_timestamp() + interval '1 day'
               THEN t.given ELSE transaction_timestamp() END AS at
    FROM (SELECT %(at)s::timestamptz AS given) t
) m
CROSS JOIN jsonb_array_elements('[null]'::jsonb || %(facets)s::jsonb || %(ends)s::jsonb) WITH ORDINALITY AS v (value, place)
WHERE g.generation = %(generation)s AND g.live
