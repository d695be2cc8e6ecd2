-- What captures a flow, and since when that is known to be whole. One that is captured for the first time counts from here on.
UPDATE kck_generation SET captured = %(print)s,
    whole_at = greatest(to_timestamp(%(at)s), whole_at),
    made_at = CASE WHEN whole_at IS NULL THEN {now} ELSE made_at END,
    primed_at = CASE WHEN whole_at IS NULL THEN {now} ELSE primed_at END
WHERE generation = %(generation)s
