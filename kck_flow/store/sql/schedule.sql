-- Put products on their schedule. One that has it already keeps its instant: planning again must neither lose a period
-- nor fire one twice.
INSERT INTO kck_refresh AS r (digest, key, key_base, args, lane, due_at, nominal, schedule_digest, reason)
SELECT u.digest, u.key, u.key_base, u.args, %(lane)s, u.due, u.nominal, %(schedule)s, 'schedule'
FROM unnest(%(digests)s::uuid[], %(keys)s::text[], %(key_bases)s::text[], %(args)s::jsonb[], %(nominals)s::timestamptz[], %(dues)s::timestamptz[])
     AS u (digest, key, key_base, args, nominal, due)
ORDER BY u.digest
ON CONFLICT (digest) DO UPDATE SET
    nominal = EXCLUDED.nominal, schedule_digest = EXCLUDED.schedule_digest,
    due_at = CASE WHEN r.parked_at IS NOT NULL THEN NULL WHEN r.want > r.have AND r.due_at IS NOT NULL THEN LEAST(r.due_at, EXCLUDED.due_at) ELSE EXCLUDED.due_at END,
    lane = CASE WHEN r.want > r.have THEN LEAST(r.lane, EXCLUDED.lane) ELSE EXCLUDED.lane END
WHERE r.schedule_digest <> EXCLUDED.schedule_digest OR (r.nominal IS NULL AND r.lease_until IS NULL)
RETURNING r.id
