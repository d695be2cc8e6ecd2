-- A batch of a family, what was not read for longest first (of one day: what is oldest).
SELECT digest, place FROM (
    SELECT digest, coalesce(read_at, '1970-01-01')::timestamptz + coalesce(computed_at - date_trunc('day', computed_at), interval '0') AS place
    FROM kck_product WHERE key_base = %(key_base)s AND state <> 'unset') p
WHERE (place, digest) > (coalesce(%(after)s::timestamptz, '-infinity'), %(after_digest)s::uuid)
ORDER BY place, digest LIMIT %(limit)s
