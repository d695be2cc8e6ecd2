-- A batch of a family, what was not read for longest first (of one day: what is oldest).
SELECT digest, coalesce(read_at, '-infinity')::timestamptz + coalesce(computed_at - date_trunc('day', computed_at), interval '0') FROM kck_product
WHERE key_base = %(key_base)s AND state <> 'unset'
  AND (coalesce(read_at, '-infinity')::timestamptz + coalesce(computed_at - date_trunc('day', computed_at), interval '0'), digest)
      > (coalesce(%(after)s::timestamptz, '-infinity'), %(after_digest)s::uuid)
ORDER BY 2, 1 LIMIT %(limit)s
