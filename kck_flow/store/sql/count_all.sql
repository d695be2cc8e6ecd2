-- The store at a glance.
SELECT (SELECT count(*) FROM kck_product WHERE state <> 'unset' AND NOT starts_with(key, '!'))::int,
       count(*) FILTER (WHERE kind <> 'change')::int, count(*) FILTER (WHERE kind = 'change')::int FROM kck_pending
