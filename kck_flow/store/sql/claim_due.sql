-- Take up to n refreshes that are due: lane by lane (a LATERAL each, so that the index gives the oldest of each lane
-- without sorting them all), lowest lane first unless told otherwise, the oldest due first.
-- SKIP LOCKED: a row another worker is looking at is theirs; nobody waits and nobody shares. MATERIALIZED: a plain
-- subquery with LIMIT may be run again by a nested loop and claim too much.
-- A refresh waits (at most half a minute) for the products it was made from, and those that these were made from, while
-- any of them is being refreshed itself: in a diamond the lower corner is computed once, after both sides, however
-- long one of them is.
-- `counted`: 1 where an end without a word will be a crash; 0 where it is only a hint that was lost.
-- Where nobody has wanted it since it last ended, it is the schedule that does, whatever it was claimed for before.
WITH due AS MATERIALIZED (
    SELECT c.*
    FROM unnest(%(lanes)s::int[]) WITH ORDINALITY AS l (lane, place)
    CROSS JOIN LATERAL (
        SELECT r.*
        FROM kck_refresh r
        WHERE r.lane = l.lane AND r.due_at <= {now} AND r.due_at >= %(mark)s
          AND (r.lease_until IS NULL OR r.lease_until <= {now})
          AND r.key_base = ANY(%(known)s)
          AND (r.lane <> 2 OR r.due_at < {now} - interval '30 seconds' OR NOT EXISTS (
                WITH RECURSIVE above AS (
                    SELECT e.upstream FROM kck_edge e WHERE e.downstream = r.digest
                    UNION
                    SELECT e.upstream FROM kck_edge e JOIN above a ON e.downstream = a.upstream
                )
                SELECT 1 FROM above a JOIN kck_refresh u ON u.digest = a.upstream
                WHERE u.digest <> r.digest AND u.parked_at IS NULL AND u.retry_at IS NULL
                  AND (u.lease_until > {now} OR (u.want > u.have AND u.due_at <= {now}))))
        ORDER BY r.due_at
        LIMIT %(n)s
        FOR UPDATE OF r SKIP LOCKED
    ) c
    ORDER BY l.place, c.due_at
    LIMIT %(n)s
), run AS (
    {lost}
    FROM due l WHERE l.lease_until IS NOT NULL AND l.lease_owner <> %(dispatched)s
)
UPDATE kck_refresh r SET
    token = r.token + 1,
    reason = CASE WHEN r.want > r.have OR r.nominal IS NULL OR r.nominal > {now} THEN r.reason ELSE 'schedule' END,
    want = GREATEST(r.want, r.have + 1),
    claimed_want = GREATEST(r.want, r.have + 1),
    lease_until = {now} + %(lease)s * interval '1 second',
    lease_owner = %(owner)s,
    crashes = r.crashes + %(counted)s,
    started_at = {now},
    compute_until = NULL,
    progress = NULL
FROM due
WHERE r.id = due.id
RETURNING r.id, r.token, r.claimed_want, r.attempts, r.cost_ms, extract(epoch FROM r.nominal)::float8, r.reason,
          extract(epoch FROM {now})::float8, r.key, r.key_base, r.lane, r.crashes, extract(epoch FROM r.due_at)::float8,
          r.schedule_digest
