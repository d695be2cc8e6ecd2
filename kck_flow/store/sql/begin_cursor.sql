INSERT INTO kck_cursor (reader, part, position, since, begun_at)
SELECT %(reader)s, part, %(position)s::jsonb, to_timestamp(%(since)s::float8), {now} FROM unnest(%(parts)s::smallint[]) part
ON CONFLICT DO NOTHING
RETURNING part
