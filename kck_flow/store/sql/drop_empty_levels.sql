-- What holds nothing any more, of families whose fence this transaction has locked.
DELETE FROM kck_level WHERE generation = ANY(%(generations)s::bigint[]) AND n = 0 AND coalesce(amount, 0) = 0
