-- Frames that are not there yet, and a refresh wanted of each, together. A frame exists once: whoever comes second
-- changes nothing. The oldest is due first, by microseconds that are over.
WITH new AS (
    INSERT INTO kck_frame (digest, key, key_base, args, series, start_at, end_at, planned_at, primer_version)
    SELECT u.digest, u.key, %(key_base)s, u.args, u.series, u.start_at, u.end_at, {at}, %(primer_version)s
    FROM unnest(%(digests)s::uuid[], %(keys)s::text[], %(args)s::jsonb[], %(series)s::uuid[],
                %(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS u (digest, key, args, series, start_at, end_at)
    ORDER BY u.digest
    ON CONFLICT (digest) DO NOTHING
    RETURNING digest, key, key_base, args, start_at, end_at
)
INSERT INTO kck_refresh AS r (digest, key, key_base, args, lane, want, due_at, reason, requested_at)
SELECT n.digest, n.key, n.key_base, n.args, %(lane)s, 1,
       {at} - row_number() OVER (ORDER BY n.end_at DESC, n.start_at DESC) * interval '1 microsecond', %(reason)s, {at}
FROM new n ORDER BY n.digest
ON CONFLICT (digest) DO UPDATE SET
    want = r.want + 1,
    lane = CASE WHEN r.due_at IS NULL THEN EXCLUDED.lane ELSE LEAST(r.lane, EXCLUDED.lane) END,
    due_at = CASE WHEN r.parked_at IS NOT NULL THEN r.due_at ELSE GREATEST(r.retry_at, EXCLUDED.due_at) END,
    requested_at = EXCLUDED.requested_at,
    reason = EXCLUDED.reason
RETURNING r.digest
