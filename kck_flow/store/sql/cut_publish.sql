-- The lease ends with the publish of a long recount; no row: it was another's, and nothing may be published. With this row
-- locked no fold runs, until all of it commits.
UPDATE kck_generation SET token = NULL, phase = NULL, captured = %(captured)s,
    primed_at = to_timestamp(%(at)s)
WHERE generation = %(generation)s AND live AND token = %(token)s AND phase = 'cut' RETURNING generation
