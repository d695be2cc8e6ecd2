-- One row where nothing is on its way to a product, as this snapshot sees it.
SELECT 1
WHERE NOT EXISTS (SELECT 1 FROM kck_pending q WHERE q.key_base = %(key_base)s AND q.digest = %(digest)s)
  AND NOT EXISTS (SELECT 1 FROM kck_pending q WHERE q.key_base = %(key_base)s AND q.digest IS NULL)
