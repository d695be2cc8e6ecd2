-- Changes that the value contains, by id: delivered once more they must not count again. The last ones are kept.
UPDATE kck_product p SET applied = (
    SELECT jsonb_agg(kept.id ORDER BY kept.n) FROM (
        SELECT e.id, e.n FROM jsonb_array_elements(coalesce(p.applied, '[]') || %(ids)s::jsonb) WITH ORDINALITY AS e (id, n)
        ORDER BY e.n DESC LIMIT %(most)s) kept)
WHERE p.digest = %(digest)s
