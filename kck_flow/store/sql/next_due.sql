-- How long a worker may sleep. What somebody has already is not waited for: its end wakes, or its lease will.
SELECT extract(epoch FROM GREATEST(min(r.due_at) - {now}, interval '0'))::float8
FROM unnest(%(lanes)s::int[]) AS l (lane) CROSS JOIN LATERAL (
    SELECT due_at FROM kck_refresh r WHERE r.lane = l.lane AND r.due_at IS NOT NULL AND (r.lease_until IS NULL OR r.lease_until <= {now}) AND r.key_base = ANY(%(known)s) ORDER BY r.due_at LIMIT 1) r
