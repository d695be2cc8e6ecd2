-- The rows of some products, made where there are none: whoever else changes one of them waits here, in the same order,
-- and sees what we have made of it.
WITH made AS (
    INSERT INTO kck_product (digest, key, key_base, params)
    SELECT * FROM unnest(%(digests)s::uuid[], %(keys)s::text[], %(key_bases)s::text[], %(params)s::jsonb[]) AS one(digest, key, key_base, params)
    ORDER BY one.digest
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT count(*) FROM made
