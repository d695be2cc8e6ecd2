-- A lease on a family ends without a count.
UPDATE kck_generation SET token = NULL, phase = NULL WHERE generation = %(generation)s AND token = %(token)s
RETURNING generation
