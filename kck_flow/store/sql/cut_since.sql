-- Beside what was counted at the cut: what was folded since.
INSERT INTO kck_recounted (generation, token, args, facet, facet_value, n, amount)
SELECT generation, %(token)s, args, facet, facet_value, since_n, since_amount FROM kck_level
WHERE generation = %(generation)s AND start_at = '-infinity' AND (since_n <> 0 OR since_amount <> 0)
