-- What had made the family worthless before the cut is made up for.
DELETE FROM kck_delta WHERE generation = %(generation)s AND args_digest = '00000000-0000-0000-0000-000000000000'
  AND id = ANY(%(voids)s::bigint[])
