-- What refreshes of each family fail or are parked, and how long they take, in seconds.
SELECT key_base, (count(*) FILTER (WHERE attempts > 0))::int, (count(*) FILTER (WHERE parked_at IS NOT NULL))::int, (avg(cost_ms) / 1000)::float8
FROM kck_refresh WHERE NOT starts_with(key_base, '!') GROUP BY 1 ORDER BY 1
