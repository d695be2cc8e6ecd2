-- Want a refresh. Asking again while one waits counts it and lets it rise a second earlier (a minute at most): what is
-- asked for often goes first. A refresh that failed waits for its back-off all the same, one that has just ended for
-- its family's min_gap; a parked one stays parked.
INSERT INTO kck_refresh AS r (digest, key, key_base, args, lane, want, due_at, reason, requested_at)
VALUES (%(digest)s, %(key)s, %(key_base)s, %(args)s, %(lane)s, 1, GREATEST({now}, %(at)s), %(reason)s, {now})
ON CONFLICT (digest) DO UPDATE SET
    want = r.want + 1,
    lane = CASE WHEN r.due_at IS NULL THEN EXCLUDED.lane ELSE LEAST(r.lane, EXCLUDED.lane) END,
    due_at = CASE WHEN r.parked_at IS NOT NULL THEN r.due_at
             ELSE GREATEST(r.retry_at, r.finished_at + %(gap)s::float8 * interval '1 second', CASE
                WHEN r.want > r.claimed_want AND r.due_at <= EXCLUDED.due_at
                    THEN GREATEST(r.due_at - interval '1 second', coalesce(r.requested_at, r.due_at) - interval '1 minute')
                ELSE LEAST(coalesce(r.due_at, EXCLUDED.due_at), EXCLUDED.due_at) END) END,
    requested_at = CASE WHEN r.want > r.claimed_want THEN coalesce(r.requested_at, {now}) ELSE {now} END,
    reason = EXCLUDED.reason
WHERE %(always)s OR r.want = r.claimed_want AND (r.retry_at IS NULL OR r.retry_at <= {now}) OR r.due_at IS NULL AND r.parked_at IS NULL AND r.lease_until IS NULL
RETURNING r.id, r.want, r.lease_until IS NOT NULL
