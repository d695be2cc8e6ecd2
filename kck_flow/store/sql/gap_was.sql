-- A flow is captured whole, but not as it was when that was seen last: what was written between, nobody knows.
INSERT INTO kck_gap (generation, start_at, end_at)
SELECT generation, whole_at, {now} FROM kck_generation WHERE generation = %(generation)s RETURNING id
