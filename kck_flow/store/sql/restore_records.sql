-- Put records back; one that is there already is the same one.
INSERT INTO kck_record (digest, key, key_base, start_at, end_at, value, facet, facet_value, facet_digest, revision, version, primer_version,
    generation, complete, written_at)
SELECT u.digest, g->>'key', g->>'key_base', (g->>'start_at')::timestamptz, (g->>'end_at')::timestamptz, nullif(g->'value', 'null'), g->>'facet',
       nullif(g->'facet_value', 'null'), (g->>'facet_digest')::uuid, (g->>'revision')::int, (g->>'version')::bigint, (g->>'primer_version')::int,
       (g->>'generation')::bigint, (g->>'complete')::boolean, (g->>'written_at')::timestamptz
FROM unnest(%(digests)s::uuid[], %(lines)s::text[]) AS u (digest, line), LATERAL (SELECT u.line::jsonb) j (g)
ON CONFLICT DO NOTHING RETURNING id
