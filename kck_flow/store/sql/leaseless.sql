-- Which of these fences belong to no lease any more: it has ended, or somebody has another.
SELECT f.generation FROM unnest(%(generations)s::bigint[], %(tokens)s::bigint[], %(digests)s::uuid[]) AS f (generation, token, digest)
WHERE NOT EXISTS (SELECT 1 FROM kck_refresh r WHERE r.digest = f.digest AND r.token = f.token AND r.lease_until IS NOT NULL)
