-- Give a refresh back unfinished (a worker stops, no place is free): nobody crashed and nothing failed.
UPDATE kck_refresh r SET lease_until = NULL, lease_owner = '', crashes = GREATEST(r.crashes - 1, 0),
    due_at = CASE WHEN %(due)s THEN {now} + %(delay)s * interval '1 second' ELSE r.due_at END, progress = NULL
WHERE r.id = %(slot)s AND r.token = %(token)s AND r.lease_until IS NOT NULL
RETURNING r.id
