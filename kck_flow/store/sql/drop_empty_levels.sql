-- What holds nothing any more, of families whose fence this transaction has locked; a recount under way may yet need what
-- was noted beside.
DELETE FROM kck_level WHERE generation = ANY(%(generations)s::bigint[]) AND n = 0 AND coalesce(amount, 0) = 0
  AND coalesce(since_n, 0) = 0 AND coalesce(since_amount, 0) = 0
