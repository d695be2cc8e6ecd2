-- The closed frames of one product and size that lie in [start, end), whole, with their current records, oldest first.
SELECT f.digest, f.key, f.start_at, f.end_at, f.complete, f.revision, r.id, r.value::text, f.items
FROM kck_frame f
LEFT JOIN kck_record r ON r.digest = f.digest AND r.facet = '' AND r.start_at = f.start_at AND r.revision = f.revision
WHERE f.series = %(series)s AND f.start_at >= %(start)s AND f.end_at <= %(end)s AND f.state = 'closed'
ORDER BY f.start_at
LIMIT %(limit)s
