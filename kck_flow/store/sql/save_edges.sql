-- The edges of a computation, committed before its value is published: an upstream that changes from now on finds them.
WITH gone AS (
    DELETE FROM kck_edge WHERE downstream = %(digest)s AND NOT (upstream = ANY(%(upstreams)s::uuid[]))
)
INSERT INTO kck_edge (upstream, downstream, upstream_key, downstream_key, version_read, mode)
SELECT u.upstream, %(digest)s, u.key, %(key)s, u.version, u.mode
FROM unnest(%(upstreams)s::uuid[], %(keys)s::text[], %(versions)s::bigint[], %(modes)s::text[]) AS u (upstream, key, version, mode)
ON CONFLICT (upstream, downstream) DO UPDATE SET version_read = EXCLUDED.version_read, mode = EXCLUDED.mode
