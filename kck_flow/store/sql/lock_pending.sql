-- A batch of marks for one drain; SKIP LOCKED: another drain's rows are its own. The marks of a product that is being
-- computed stay: its publish judges them, since many come from what it computes on its way.
SELECT q.id, q.key_base, q.digest, q.args, q.kind, q.source, q.reason,
       coalesce((SELECT p.key FROM kck_product p WHERE p.digest = q.digest), (SELECT r.key FROM kck_refresh r WHERE r.digest = q.digest),
                (SELECT e.downstream_key FROM kck_edge e WHERE e.downstream = q.digest LIMIT 1)),
       q.digest IS NOT NULL AND coalesce((SELECT p.pending_seen @> to_jsonb(q.id) FROM kck_product p WHERE p.digest = q.digest), false)
FROM kck_pending q
WHERE q.kind <> 'change' AND NOT EXISTS (SELECT 1 FROM kck_refresh r WHERE r.digest = q.digest AND r.lease_until > {now})
ORDER BY q.id LIMIT %(limit)s FOR UPDATE OF q SKIP LOCKED
