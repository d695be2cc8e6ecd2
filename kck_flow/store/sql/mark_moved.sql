-- After a computation in a snapshot: what its publish could not see.
INSERT INTO kck_pending (key_base, digest, kind, source, reason)
SELECT %(key_base)s, %(digest)s, 'stale', min(e.upstream_key), 'moved while it was computed'
FROM kck_edge e JOIN kck_product u ON u.digest = e.upstream
WHERE e.downstream = %(digest)s AND e.mode <> 'augment' AND e.version_read IS NOT NULL AND u.version <> e.version_read
HAVING count(*) > 0 RETURNING id
