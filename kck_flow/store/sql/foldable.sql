-- The families with deltas, those with most first, as far as a look at so many deltas tells.
SELECT generation FROM (
    SELECT d.generation FROM kck_delta d LEFT JOIN kck_generation g USING (generation)
    WHERE d.kind = 'add' OR g.primed_at IS NULL AND g.token IS NULL LIMIT %(limit)s) d
GROUP BY generation ORDER BY count(*) DESC
