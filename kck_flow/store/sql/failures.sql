-- When the refreshes of one product failed, within [start, end): of its last runs, by the index of its own.
SELECT extract(epoch FROM started_at)::float8
FROM (SELECT started_at, outcome FROM kck_run WHERE digest = %(digest)s ORDER BY id DESC LIMIT %(limit)s) run
WHERE outcome IN ('failed', 'lost') AND started_at >= %(start)s AND started_at < %(end)s
ORDER BY started_at
