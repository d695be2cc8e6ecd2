-- What had made the family worthless before the cut is made up for.
DELETE FROM kck_delta WHERE id = ANY(%(voids)s::bigint[])
