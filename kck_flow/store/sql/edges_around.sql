-- The graph near some products, upwards and downwards.
WITH RECURSIVE up AS (
    SELECT e.*, 1 AS depth FROM kck_edge e WHERE e.downstream = ANY(%(digests)s)
    UNION SELECT e.*, u.depth + 1 FROM kck_edge e JOIN up u ON e.downstream = u.upstream WHERE u.depth < %(depth)s
), down AS (
    SELECT e.*, 1 AS depth FROM kck_edge e WHERE e.upstream = ANY(%(digests)s)
    UNION SELECT e.*, d.depth + 1 FROM kck_edge e JOIN down d ON e.upstream = d.downstream WHERE d.depth < %(depth)s
)
SELECT DISTINCT upstream_key, downstream_key, mode, version_read FROM (SELECT * FROM up UNION ALL SELECT * FROM down) b ORDER BY 1, 2
