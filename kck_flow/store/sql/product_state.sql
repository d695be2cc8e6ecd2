-- The state of a product in one expression, as ``state_of`` of the cache says it ({p} is kck_product): the admin filters
-- by it and counts by it.
(SELECT CASE WHEN NOT s.servable THEN CASE WHEN s.running THEN 'computing' WHEN s.attempts > 0 THEN 'failed' ELSE 'empty' END
   WHEN s.mark = 1 OR coalesce({p}.soft_expires_at <= {now}, false)
     THEN CASE WHEN s.running THEN 'computing' WHEN s.attempts > 0 AND s.waits THEN 'failed' ELSE 'stale' END
   ELSE 'fresh' END
 FROM (SELECT m.mark, coalesce(r.lease_until > {now}, false) AS running, coalesce(r.attempts, 0) AS attempts,
     coalesce(r.parked_at IS NOT NULL OR r.retry_at > {now}, false) AS waits,
     {p}.state <> 'unset' AND {p}.invalid_at IS NULL AND ({p}.hard_expires_at IS NULL OR {p}.hard_expires_at > {now}) AND m.mark < 2
       AND m.changes <= %(limit)s AND NOT EXISTS (SELECT 1 FROM unnest(%(bases)s::text[], %(versions)s::int[], %(never)s::bool[]) AS v (base, version, never)
         WHERE v.base = {p}.key_base AND (v.never OR v.version <> {p}.primer_version)) AS servable
   FROM (SELECT coalesce(max(CASE q.kind WHEN 'stale' THEN 2 WHEN 'refresh' THEN 1 ELSE 0 END)
         FILTER (WHERE NOT coalesce({p}.pending_seen @> to_jsonb(q.id), false)), 0) AS mark,
       count(*) FILTER (WHERE q.kind = 'change' AND q.digest = {p}.digest) AS changes
     FROM kck_pending q WHERE q.key_base = {p}.key_base
       AND (q.digest = {p}.digest OR q.digest IS NULL AND (q.args IS NULL OR {p}.params @> q.args))) m
   LEFT JOIN kck_refresh r ON r.digest = {p}.digest) s)
