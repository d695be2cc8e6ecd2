-- A worker has died: what it held is due at once; what ends its process again and again, after longer and longer pauses.
UPDATE kck_refresh SET lease_until = NULL, lease_owner = '', token = token + 1, due_at = {now} + (power(2, LEAST(crashes, 10) - 1) - 1) * interval '1 second'
WHERE lease_owner = %(owner)s AND lease_until IS NOT NULL RETURNING key
