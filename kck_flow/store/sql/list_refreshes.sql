-- Slots for people: what runs, what is due next, what is parked.
SELECT r.id, r.key, r.key_base, r.lane, r.due_at, r.want, r.have, coalesce(r.lease_until > {now}, false), r.lease_owner, r.attempts, r.crashes,
       r.retry_at, r.last_error, r.last_error_at, r.parked_at, r.parked_why,
       CASE WHEN r.want > r.have OR r.nominal IS NULL THEN r.reason ELSE 'schedule' END, r.requested_at, r.nominal, r.started_at, r.finished_at,
       r.cost_ms, r.progress, r.token, {now}, r.schedule_digest
FROM kck_refresh r
WHERE (%(key_base)s::text IS NULL OR r.key_base = %(key_base)s) AND (%(digest)s::uuid IS NULL OR r.digest = %(digest)s::uuid)
  AND (NOT %(parked)s OR r.parked_at IS NOT NULL)
  AND (NOT %(overdue)s OR (r.due_at <= {now} AND (r.lease_until IS NULL OR r.lease_until <= {now})))
  AND (NOT %(waiting)s OR r.due_at IS NOT NULL OR r.lease_until IS NOT NULL OR r.parked_at IS NOT NULL)
ORDER BY coalesce(r.lease_until > {now}, false) DESC, r.due_at NULLS LAST, r.lane, r.key LIMIT %(limit)s
