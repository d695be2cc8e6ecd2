-- A product that ended its process so often is set aside until somebody says `kck retry`.
UPDATE kck_refresh r SET lease_until = NULL, lease_owner = '', due_at = NULL, parked_at = {now}, parked_why = 'crashed',
    last_error_at = {now}, last_error = %(error)s
WHERE r.id = %(slot)s AND r.token = %(token)s RETURNING r.id
