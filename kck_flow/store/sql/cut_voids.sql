-- What made the family worthless, as far as the recount's snapshot sees it: the count makes up for it, and takes it along.
SELECT extract(epoch FROM {now})::float8, array_agg(id) FROM kck_delta
WHERE generation = %(generation)s AND kind = 'invalidate'
