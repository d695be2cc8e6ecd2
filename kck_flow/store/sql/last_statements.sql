-- The SQL that a product was last refreshed by: of its last runs, by the index of its own.
SELECT extract(epoch FROM started_at)::float8, statements::text
FROM (SELECT id, started_at, statements FROM kck_run WHERE digest = %(digest)s ORDER BY id DESC LIMIT %(limit)s) run
WHERE statements IS NOT NULL ORDER BY id DESC LIMIT 1
