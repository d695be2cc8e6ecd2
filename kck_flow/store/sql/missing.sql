-- Which of these have nothing stored.
SELECT d.digest FROM unnest(%(digests)s::uuid[]) AS d (digest) LEFT JOIN kck_product p ON p.digest = d.digest
WHERE p.digest IS NULL OR p.state = 'unset' OR p.invalid_at IS NOT NULL OR p.hard_expires_at <= {now}
