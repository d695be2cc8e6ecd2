-- How long a worker may sleep. What somebody has already is not waited for: its end wakes, or its lease will. No row is
-- due: no answer (GREATEST would make of that a zero, and of the worker a loop without pause).
SELECT CASE WHEN min(r.due_at) IS NOT NULL THEN extract(epoch FROM GREATEST(min(r.due_at) - {now}, interval '0'))::float8 END
FROM unnest(%(lanes)s::int[]) AS l (lane) CROSS JOIN LATERAL (
    SELECT due_at FROM kck_refresh r WHERE r.lane = l.lane AND r.due_at IS NOT NULL
      AND (r.lease_until IS NULL OR r.lease_until <= {now}) AND r.key_base = ANY(%(known)s) ORDER BY r.due_at LIMIT 1) r
