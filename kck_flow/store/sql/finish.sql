-- The end of a refresh that is still ours. No row back: the lease was lost, and with it the right to publish.
-- A slot that was asked for again meanwhile is due again. One that was put on another schedule meanwhile, or taken off its
-- own, keeps what it was given: whoever ends here knows only the old one.
-- {gate} is what else must be so, where it is a part of a publish.
UPDATE kck_refresh r SET
    have = r.claimed_want,
    lease_until = NULL,
    lease_owner = '',
    attempts = 0,
    crashes = 0,
    retry_at = NULL,
    parked_at = NULL,
    parked_why = '',
    lane = %(lane)s,
    due_at = CASE WHEN r.want > r.claimed_want OR %(again)s THEN {now} + %(min_gap)s * interval '1 second' 
             WHEN r.schedule_digest <> %(schedule)s THEN r.nominal ELSE %(next_due)s END,
    nominal = CASE WHEN r.schedule_digest <> %(schedule)s THEN r.nominal ELSE %(nominal)s END,
    finished_at = {now},
    cost_ms = CASE WHEN r.cost_ms IS NULL THEN %(cost)s::float8 ELSE r.cost_ms * 0.8 + %(cost)s::float8 * 0.2 END,
    progress = NULL
WHERE r.id = %(slot)s AND r.token = %(token)s AND r.lease_until IS NOT NULL{gate}
RETURNING r.want > r.claimed_want AS again
