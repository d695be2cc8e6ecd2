-- A flow is not captured whole: since it was last seen to be. One gap is open at a time.
INSERT INTO kck_gap (generation, start_at)
SELECT generation, whole_at FROM kck_generation WHERE generation = %(generation)s
ON CONFLICT DO NOTHING RETURNING id
