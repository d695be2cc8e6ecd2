-- Flows that are captured as they were when they were last looked at. In one order, and waiting for nobody: whoever holds one
-- (a fold, another look) is gone before the next.
WITH mine AS MATERIALIZED (
    SELECT generation FROM kck_generation WHERE generation = ANY(%(generations)s::bigint[]) ORDER BY generation
    FOR UPDATE SKIP LOCKED
)
UPDATE kck_generation g SET whole_at = greatest(g.whole_at, to_timestamp(%(at)s))
FROM unnest(%(generations)s::bigint[], %(prints)s::text[]) AS s (generation, print), mine m
WHERE m.generation = g.generation AND g.generation = s.generation AND g.live AND g.captured = s.print AND g.whole_at IS NOT NULL
