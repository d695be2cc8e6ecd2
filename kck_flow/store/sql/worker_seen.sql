-- Every few seconds, so that readers know whether anybody refreshes.
UPDATE kck_worker SET seen_at = {now}, in_flight = %(in_flight)s WHERE id = %(id)s RETURNING id
