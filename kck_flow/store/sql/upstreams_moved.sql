-- Whether something that was read is no longer as it was read. The edges are committed by now. FOR SHARE: the rows as they
-- are now, not as a snapshot saw them; SKIP LOCKED: who holds a row is changing it, and looked for readers perhaps before
-- our edges were there.
WITH now AS MATERIALIZED (
    SELECT u.version <> r.version OR u.epoch <> r.epoch AS moved, u.digest, u.key_base, u.params, u.pending_seen
    FROM unnest(%(upstreams)s::uuid[], %(versions)s::bigint[], %(epochs)s::bigint[]) AS r (digest, version, epoch)
    JOIN kck_product u ON u.digest = r.digest FOR SHARE OF u SKIP LOCKED
)
SELECT count(*) < cardinality(%(upstreams)s::uuid[]) OR coalesce(bool_or(n.moved), false) OR coalesce(bool_or(EXISTS (
    SELECT 1 FROM kck_pending q WHERE q.key_base = n.key_base AND q.kind = 'stale'
      AND (q.digest = n.digest OR q.digest IS NULL AND (q.args IS NULL OR n.params @> q.args))
      AND NOT coalesce(n.pending_seen @> to_jsonb(q.id), false))), false)
FROM now n
