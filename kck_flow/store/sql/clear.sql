-- Empty a queue. The next planning schedules again what the domain holds.
UPDATE kck_refresh SET due_at = NULL, nominal = NULL, schedule_digest = '', have = GREATEST(have, want), retry_at = NULL
WHERE key_base = %(key_base)s AND due_at IS NOT NULL AND (lease_until IS NULL OR lease_until <= {now}) RETURNING id
