-- How many products are in each state; of many, of a sample of their pages ({sample}): nobody reads a million rows for
-- a line above a list.
SELECT s.state, count(*) FROM (SELECT {state} AS state FROM kck_product p {sample} WHERE p.key_base <> ALL (%(hidden)s::text[]) AND NOT starts_with(p.key, '!')) s GROUP BY 1
