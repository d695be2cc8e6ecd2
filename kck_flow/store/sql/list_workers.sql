-- Workers for people.
SELECT id, host, pid, version, lanes, products, executor, concurrency, mode, started_at, seen_at, in_flight, extract(epoch FROM {now} - seen_at)::float8
FROM kck_worker ORDER BY id
