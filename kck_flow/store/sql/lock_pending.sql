-- A batch of marks for one drain; SKIP LOCKED: another drain's rows are its own.
SELECT q.id, q.key_base, q.digest, q.args, q.kind, q.source, q.reason,
       coalesce((SELECT p.key FROM kck_product p WHERE p.digest = q.digest), (SELECT r.key FROM kck_refresh r WHERE r.digest = q.digest),
                (SELECT e.downstream_key FROM kck_edge e WHERE e.downstream = q.digest LIMIT 1))
FROM kck_pending q WHERE q.kind <> 'change' ORDER BY q.id LIMIT %(limit)s FOR UPDATE OF q SKIP LOCKED
