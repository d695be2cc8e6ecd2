-- The marks of everything whose computation has read one of these products.
SELECT coalesce(sum(kck_mark_below(u.digest, u.key, %(reason)s, %(unmarked)s)), 0)::int
FROM unnest(%(digests)s::uuid[], %(sources)s::text[]) AS u (digest, key)
