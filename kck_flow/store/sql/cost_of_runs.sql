-- How long one product takes: of its last runs, by the index of its own.
SELECT count(*)::int, (count(*) FILTER (WHERE outcome IN ('failed', 'lost')))::int,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - started_at))
           FILTER (WHERE outcome IN ('done', 'unchanged'))
FROM (SELECT outcome, started_at, finished_at FROM kck_run WHERE digest = %(digest)s ORDER BY id DESC LIMIT %(limit)s) run
