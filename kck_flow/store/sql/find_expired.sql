-- A batch of products that may no longer be served: not even in place of an error (the family's grace).
SELECT p.digest, p.hard_expires_at FROM kck_product p LEFT JOIN unnest(%(key_bases)s::text[], %(graces)s::float8[]) AS g (key_base, grace) USING (key_base)
WHERE p.state <> 'unset' AND p.hard_expires_at + coalesce(g.grace, 0) * interval '1 second' <= {now}
  AND (p.hard_expires_at, p.digest) > (coalesce(%(after)s::timestamptz, '-infinity'), %(after_digest)s::uuid)
ORDER BY p.hard_expires_at, p.digest LIMIT %(limit)s
