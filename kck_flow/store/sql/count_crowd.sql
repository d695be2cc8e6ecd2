-- How far a family is above its bound.
SELECT GREATEST(count(*) - %(most)s, 0)::int FROM kck_product WHERE key_base = %(key_base)s AND state <> 'unset'
