-- What reads came to in the hours that begin within [start, end), and what refreshes that began then took, by family. Runs are
-- read by the index of their family.
WITH reads AS (
    SELECT key_base, sum(fresh) AS fresh, sum(stale) AS stale, sum(missed) AS missed, sum(failed) AS failed,
           min(hour) AS since
    FROM kck_usage WHERE hour >= %(start)s AND hour < %(end)s AND (%(key_base)s::text IS NULL OR key_base = %(key_base)s)
    GROUP BY key_base
), runs AS (
    SELECT key_base, count(*) FILTER (WHERE outcome IN ('done', 'unchanged')) AS done,
           count(*) FILTER (WHERE outcome IN ('failed', 'lost')) AS broken,
           sum(extract(epoch FROM finished_at - started_at)) AS took,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - started_at)::float8)
               FILTER (WHERE outcome IN ('done', 'unchanged')) AS median
    FROM kck_run
    WHERE started_at >= %(start)s AND started_at < %(end)s AND (%(key_base)s::text IS NULL OR key_base = %(key_base)s)
    GROUP BY key_base
)
SELECT coalesce(d.key_base, n.key_base), coalesce(d.fresh, 0)::bigint, coalesce(d.stale, 0)::bigint, coalesce(d.missed, 0)::bigint,
       coalesce(d.failed, 0)::bigint, coalesce(n.done, 0)::bigint, coalesce(n.broken, 0)::bigint, coalesce(n.took, 0)::float8, n.median,
       extract(epoch FROM d.since)::float8
FROM reads d FULL JOIN runs n ON n.key_base = d.key_base ORDER BY 1
