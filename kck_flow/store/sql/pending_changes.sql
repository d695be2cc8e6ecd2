-- Which products have changes to be folded.
SELECT key_base, digest, count(*)::int FROM kck_pending WHERE kind = 'change' AND digest IS NOT NULL
GROUP BY key_base, digest ORDER BY count(*) DESC LIMIT %(limit)s
