-- How many products of each family are in each state, and how old the oldest of them is, in seconds; of many, of a sample
-- of their pages ({sample}).
SELECT s.key_base, s.state, count(*)::int, (extract(epoch FROM {now} - min(s.computed_at)))::float8
FROM (SELECT p.key_base, p.computed_at, {state} AS state FROM kck_product p {sample} WHERE NOT starts_with(p.key, '!')) s GROUP BY 1, 2 ORDER BY 1, 2
