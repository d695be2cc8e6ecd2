-- How long each family takes, and how often it fails.
SELECT key_base, count(*)::int, (count(*) FILTER (WHERE outcome IN ('failed', 'lost')))::int,
       (avg(extract(epoch FROM finished_at - started_at)) FILTER (WHERE outcome IN ('done', 'unchanged')))::float8,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - started_at))::float8,
       max(extract(epoch FROM finished_at - started_at))::float8, max(finished_at)
FROM kck_run WHERE %(key_base)s::text IS NULL OR key_base = %(key_base)s GROUP BY key_base ORDER BY key_base
