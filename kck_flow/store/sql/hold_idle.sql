-- Which of these nobody computes: their slots are held until the batch is deleted (the slot before the product, always);
-- one that somebody else looks at just now is left for the next time.
WITH held AS MATERIALIZED (
    SELECT digest, lease_until FROM kck_refresh WHERE digest = ANY(%(digests)s) ORDER BY id FOR UPDATE SKIP LOCKED
)
SELECT d.digest FROM unnest(%(digests)s::uuid[]) AS d (digest) LEFT JOIN held h ON h.digest = d.digest
WHERE (h.digest IS NOT NULL AND (h.lease_until IS NULL OR h.lease_until <= {now}))
   OR NOT EXISTS (SELECT 1 FROM kck_refresh r WHERE r.digest = d.digest)
