-- How many runs are older than they are kept.
SELECT count(*)::int FROM kck_run WHERE finished_at < {now} - %(days)s * interval '1 day'
