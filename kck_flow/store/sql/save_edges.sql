-- The edges of a computation, committed before its value is published: an upstream that changes from now on finds them.
-- What was read and was not there gets a row that says so: there must be something that whoever sets it has to lock.
WITH gone AS (
    DELETE FROM kck_edge WHERE downstream = %(digest)s AND NOT (upstream = ANY(%(upstreams)s::uuid[]))
), absent AS (
    INSERT INTO kck_product (digest, key, key_base, state, version, epoch)
    SELECT u.upstream, u.key, u.key_base, 'unset', 0, 0
    FROM unnest(%(upstreams)s::uuid[], %(keys)s::text[], %(key_bases)s::text[], %(versions)s::bigint[]) AS u (upstream, key, key_base, version)
    WHERE u.version = 0 ORDER BY u.upstream
    ON CONFLICT (digest) DO NOTHING
)
INSERT INTO kck_edge (upstream, downstream, upstream_key, downstream_key, version_read, mode)
SELECT u.upstream, %(digest)s, u.key, %(key)s, u.version, u.mode
FROM unnest(%(upstreams)s::uuid[], %(keys)s::text[], %(versions)s::bigint[], %(modes)s::text[]) AS u (upstream, key, version, mode)
ON CONFLICT (upstream, downstream) DO UPDATE SET version_read = EXCLUDED.version_read, mode = EXCLUDED.mode
