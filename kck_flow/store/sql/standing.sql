-- Where a product and its slot stand: what a waiter polls, and what a refused claim looks at next.
SELECT d.digest::text, p.version, p.epoch, p.state, extract(epoch FROM p.computed_at)::float8,
       r.token, coalesce(r.lease_until > {now}, false), r.attempts, extract(epoch FROM r.retry_at)::float8,
       extract(epoch FROM r.last_error_at)::float8, r.last_error, r.crashes, r.parked_why, extract(epoch FROM {now})::float8,
       extract(epoch FROM r.started_at)::float8
FROM unnest(%(digests)s::uuid[]) AS d (digest)
LEFT JOIN kck_product p ON p.digest = d.digest
LEFT JOIN kck_refresh r ON r.digest = d.digest
