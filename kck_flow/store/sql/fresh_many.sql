-- The same for many: key and value of those that may be served as they are.
SELECT p.key, p.primer_version, p.value FROM kck_product p
WHERE p.digest = ANY('{digests}') AND p.state = 'value' AND p.invalid_at IS NULL
  AND (p.soft_expires_at IS NULL OR p.soft_expires_at > {now}) AND (p.hard_expires_at IS NULL OR p.hard_expires_at > {now})
  AND {calm}
