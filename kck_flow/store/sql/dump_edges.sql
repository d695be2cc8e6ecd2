-- Edges as lines of JSON.
SELECT jsonb_build_object('t', 'edge', 'upstream_key', upstream_key, 'downstream_key', downstream_key,
    'version_read', version_read, 'mode', mode)::text, upstream, downstream
FROM kck_edge WHERE (upstream, downstream) > (%(after)s::uuid, %(after_too)s::uuid) AND NOT starts_with(downstream_key, '!')
  AND (%(key_bases)s::text[] IS NULL OR split_part(downstream_key, '/', 1) = ANY(%(key_bases)s))
ORDER BY upstream, downstream LIMIT %(limit)s
