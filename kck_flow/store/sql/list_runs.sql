-- The last runs of a product, a family, or all.
SELECT id, key, outcome, reason, started_at, extract(epoch FROM finished_at - started_at)::float8, version, bytes, worker, error, nominal, traceback, causes
FROM kck_run
WHERE (%(digest)s::uuid IS NULL OR digest = %(digest)s::uuid) AND (%(key_base)s::text IS NULL OR key_base = %(key_base)s)
  AND (%(outcome)s::text IS NULL OR outcome = %(outcome)s)
ORDER BY id DESC LIMIT %(limit)s
