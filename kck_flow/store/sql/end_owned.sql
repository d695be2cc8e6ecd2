-- A worker has died: what it held is due at once.
UPDATE kck_refresh SET lease_until = NULL, lease_owner = '', token = token + 1, due_at = LEAST(coalesce(due_at, {now}), {now})
WHERE lease_owner = %(owner)s AND lease_until IS NOT NULL RETURNING key
