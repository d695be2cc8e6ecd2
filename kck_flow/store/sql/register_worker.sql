-- A new worker and its number.
INSERT INTO kck_worker (host, pid, version, lanes, products, executor, concurrency, mode, started_at, seen_at)
VALUES (%(host)s, %(pid)s, %(version)s, %(lanes)s::jsonb, %(products)s::jsonb, %(executor)s, %(concurrency)s, %(mode)s, {now}, {now}) RETURNING id
