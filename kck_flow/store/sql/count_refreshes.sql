-- The queue at a glance, by lane. Due is what nobody has begun.
SELECT lane, count(*)::int, (count(*) FILTER (WHERE due_at <= {now} AND (lease_until IS NULL OR lease_until <= {now})))::int, (count(*) FILTER (WHERE lease_until > {now}))::int,
       (count(*) FILTER (WHERE parked_at IS NOT NULL))::int, (count(*) FILTER (WHERE attempts > 0))::int,
       (extract(epoch FROM {now} - min(due_at) FILTER (WHERE due_at <= {now} AND (lease_until IS NULL OR lease_until <= {now}))))::float8
FROM kck_refresh GROUP BY lane ORDER BY lane
