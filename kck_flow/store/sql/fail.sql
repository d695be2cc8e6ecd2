-- A computation failed; the old value stays. Back-off is for everybody: readers get the stored cause meanwhile.
UPDATE kck_refresh r SET
    lease_until = NULL, lease_owner = '', crashes = 0,
    attempts = r.attempts + 1,
    have = CASE WHEN %(final)s THEN r.claimed_want ELSE r.have END,
    retry_at = {now} + %(backoff)s * interval '1 second',
    due_at = CASE WHEN %(park)s THEN NULL WHEN %(retry)s THEN {now} + %(backoff)s * interval '1 second'
             WHEN r.schedule_digest <> %(schedule)s THEN r.nominal ELSE %(next_due)s END,
    nominal = CASE WHEN %(retry)s OR r.schedule_digest <> %(schedule)s THEN r.nominal ELSE %(nominal)s END,
    parked_at = CASE WHEN %(park)s THEN {now} END,
    parked_why = CASE WHEN %(park)s THEN 'failed' ELSE '' END,
    last_error_at = {now}, last_error = %(error)s, finished_at = {now}, progress = NULL
WHERE r.id = %(slot)s AND r.token = %(token)s AND r.lease_until IS NOT NULL
RETURNING r.attempts
