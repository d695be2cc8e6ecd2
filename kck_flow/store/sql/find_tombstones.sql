-- A batch of products unset long ago: whoever had read one of their versions has forgotten it by now.
SELECT digest, coalesce(computed_at, invalid_at) FROM kck_product
WHERE state = 'unset' AND version > 0 AND coalesce(computed_at, invalid_at) < {now} - %(days)s * interval '1 day'
  AND (coalesce(computed_at, invalid_at), digest) > (coalesce(%(after)s::timestamptz, '-infinity'), %(after_digest)s::uuid)
ORDER BY 2, 1 LIMIT %(limit)s
