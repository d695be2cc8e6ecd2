-- A flow is captured whole again.
UPDATE kck_gap SET end_at = {now} WHERE generation = %(generation)s AND end_at IS NULL RETURNING id
