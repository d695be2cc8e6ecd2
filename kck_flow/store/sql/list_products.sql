-- Products with their slots, by key, a page at a time from the last key seen.
SELECT p.key, p.key_base, p.state, p.version, extract(epoch FROM p.computed_at)::float8, extract(epoch FROM p.soft_expires_at)::float8,
       extract(epoch FROM p.hard_expires_at)::float8, p.invalid_at IS NOT NULL, p.primer_version,
       CASE WHEN pg_column_size(p.value) <= 400 THEN p.value::text END, pg_column_size(p.value), extract(epoch FROM {now})::float8,
       coalesce(r.lease_until > {now}, false), r.attempts, extract(epoch FROM r.retry_at)::float8, extract(epoch FROM r.due_at)::float8,
       r.parked_at IS NOT NULL, r.last_error, r.want > r.have
FROM kck_product p LEFT JOIN kck_refresh r ON r.digest = p.digest
WHERE (%(key_base)s::text IS NULL OR p.key_base = %(key_base)s) AND p.key > %(after)s AND starts_with(p.key, %(prefix)s)
ORDER BY p.key LIMIT %(limit)s
