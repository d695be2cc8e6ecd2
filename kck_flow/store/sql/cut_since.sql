-- Beside what was counted at the cut: what was folded since.
INSERT INTO kck_recounted (generation, token, args, start_at, facet, facet_value, n, amount)
SELECT generation, %(token)s, args, start_at, facet, facet_value, since_n, since_amount FROM kck_level
WHERE generation = %(generation)s AND (since_n <> 0 OR since_amount <> 0)
