-- A long recount has its snapshot, and this transaction shares it. From its commit on folds go on, and keep account of what
-- they add. No row: the lease is another's.
UPDATE kck_generation SET phase = 'cut' WHERE generation = %(generation)s AND live AND token = %(token)s
RETURNING primed_at IS NOT NULL
