-- The families with deltas and their names, those with most first, as far as a look at so many deltas tells.
SELECT d.generation, d.key_base FROM (
    SELECT d.generation, g.key_base FROM kck_delta d JOIN kck_generation g USING (generation)
    WHERE d.kind = 'add' OR g.primed_at IS NULL AND g.token IS NULL LIMIT %(limit)s) d
GROUP BY d.generation, d.key_base ORDER BY count(*) DESC
