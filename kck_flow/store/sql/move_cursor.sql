UPDATE kck_cursor SET
    position = %(position)s::jsonb,
    watermark = greatest(watermark, to_timestamp(%(watermark)s::float8)),
    messages = messages + %(messages)s,
    late = late + %(late)s,
    moved_at = coalesce(to_timestamp(%(moved)s::float8), moved_at),
    error = ''
WHERE reader = %(reader)s AND part = %(part)s
