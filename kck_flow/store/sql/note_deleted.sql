-- What a stream had before an instant is gone; what was gone before stays so.
INSERT INTO kck_cursor (reader, part, since, begun_at) VALUES (%(reader)s, 0, %(before)s, {now})
ON CONFLICT (reader, part) DO UPDATE SET since = greatest(kck_cursor.since, EXCLUDED.since), moved_at = {now}
RETURNING 1
