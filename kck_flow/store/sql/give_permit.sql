-- The place is free again.
UPDATE kck_permit SET lease_until = NULL, slot = NULL, token = NULL WHERE slot = %(slot)s AND token = %(token)s RETURNING place
