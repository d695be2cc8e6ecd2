-- How many products each family holds, and how large they are.
SELECT key_base, count(*)::int, coalesce(sum(pg_column_size(value)), 0)::bigint FROM kck_product WHERE state <> 'unset' GROUP BY key_base
