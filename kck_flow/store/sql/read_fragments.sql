-- Entries of Django's caches: what is stored and has not expired.
SELECT digest::text, value::text FROM kck_product
WHERE digest = ANY(%(digests)s::uuid[]) AND state = 'value' AND (hard_expires_at IS NULL OR hard_expires_at > {now})
