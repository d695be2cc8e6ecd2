-- The slot that plans a family's frames: one, however many processes begin. One that waits, runs or is parked stays as
-- it is; one that rests is due.
INSERT INTO kck_refresh AS r (digest, key, key_base, lane, want, due_at, reason, requested_at)
VALUES (%(digest)s, %(key)s, %(key_base)s, %(lane)s, 1, {now}, 'schedule', {now})
ON CONFLICT (digest) DO UPDATE SET due_at = {now}
WHERE r.due_at IS NULL AND r.lease_until IS NULL AND r.parked_at IS NULL
RETURNING r.id
