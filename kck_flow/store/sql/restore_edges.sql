-- Put edges back; one that was recorded since knows better.
INSERT INTO kck_edge (upstream, downstream, upstream_key, downstream_key, version_read, mode)
SELECT u.upstream, u.downstream, g->>'upstream_key', g->>'downstream_key', (g->>'version_read')::bigint, g->>'mode'
FROM unnest(%(upstreams)s::uuid[], %(downstreams)s::uuid[], %(lines)s::text[]) AS u (upstream, downstream, line), LATERAL (SELECT u.line::jsonb) j (g)
ON CONFLICT DO NOTHING RETURNING upstream
