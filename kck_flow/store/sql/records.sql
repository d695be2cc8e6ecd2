-- The current revisions within [start, end), and the last one before: what held when the range began.
SELECT extract(epoch FROM start_at)::float8, value FROM (
    SELECT DISTINCT ON (start_at) start_at, value FROM kck_record
    WHERE digest = %(digest)s AND facet = '' AND start_at < %(end)s
      AND start_at >= coalesce((SELECT max(start_at) FROM kck_record WHERE digest = %(digest)s AND facet = '' AND start_at <= %(start)s), %(start)s)
    ORDER BY start_at, revision DESC
) r ORDER BY start_at
