-- Flows that are captured as they were when they were last looked at.
UPDATE kck_generation g SET whole_at = greatest(g.whole_at, to_timestamp(%(at)s))
FROM unnest(%(generations)s::bigint[], %(prints)s::text[]) AS s (generation, print)
WHERE g.generation = s.generation AND g.live AND g.captured = s.print AND g.whole_at IS NOT NULL
