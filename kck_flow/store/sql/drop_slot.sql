-- The slot of one event has done its duty.
DELETE FROM kck_refresh WHERE id = %(slot)s AND token = %(token)s AND lease_until IS NOT NULL
