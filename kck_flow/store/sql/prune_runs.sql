-- Old runs, a batch at a time: one long delete would hold its snapshot over everything.
DELETE FROM kck_run WHERE id IN (SELECT id FROM kck_run WHERE finished_at < {now} - %(days)s * interval '1 day' ORDER BY id LIMIT %(limit)s) RETURNING id
