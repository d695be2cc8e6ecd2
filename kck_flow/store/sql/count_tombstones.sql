-- How many products were unset long ago.
SELECT count(*)::int FROM kck_product WHERE state = 'unset' AND version > 0 AND coalesce(computed_at, invalid_at) < {now} - %(days)s * interval '1 day'
