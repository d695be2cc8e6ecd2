-- A hint could not be sent: its refresh is due again in a moment. It was in nobody's hands.
UPDATE kck_refresh SET lease_until = NULL, lease_owner = '', due_at = {now} + %(delay)s * interval '1 second'
WHERE id = %(slot)s AND token = %(token)s AND lease_until IS NOT NULL
