-- The families with deltas, those with most first, as far as a look at so many deltas tells.
SELECT generation FROM (SELECT generation FROM kck_delta WHERE kind = 'add' LIMIT %(limit)s) d
GROUP BY generation ORDER BY count(*) DESC
