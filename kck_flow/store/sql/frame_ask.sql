-- Frames that are there are wanted once more, and a refresh of each, together: {which} says which, {late} how many items
-- came late to each.
WITH told AS (
    UPDATE kck_frame f SET
        want = GREATEST(f.want, f.have) + 1,
        state = CASE WHEN f.state = 'closed' AND %(again)s THEN 'planned' ELSE f.state END,
        late = f.late + CASE WHEN f.state = 'closed' THEN {late} ELSE 0 END
    WHERE f.digest IN (SELECT d.digest FROM kck_frame d WHERE {which} ORDER BY d.digest FOR UPDATE OF d)
    RETURNING f.digest, f.key, f.key_base, f.args, f.start_at, f.end_at
)
INSERT INTO kck_refresh AS r (digest, key, key_base, args, lane, want, due_at, reason, requested_at)
SELECT n.digest, n.key, n.key_base, n.args, %(lane)s, 1,
       {at} - row_number() OVER (ORDER BY n.end_at DESC, n.start_at DESC) * interval '1 microsecond', %(reason)s, {at}
FROM told n ORDER BY n.digest
ON CONFLICT (digest) DO UPDATE SET
    want = r.want + 1,
    lane = CASE WHEN r.due_at IS NULL THEN EXCLUDED.lane ELSE LEAST(r.lane, EXCLUDED.lane) END,
    due_at = CASE WHEN r.parked_at IS NOT NULL THEN r.due_at ELSE GREATEST(r.retry_at, LEAST(coalesce(r.due_at, EXCLUDED.due_at), EXCLUDED.due_at)) END,
    requested_at = EXCLUDED.requested_at,
    reason = EXCLUDED.reason
RETURNING r.key
