-- All leases of this process at once. Those that do not come back are lost: their results will be refused.
UPDATE kck_refresh r SET lease_until = {now} + h.lease * interval '1 second', progress = coalesce(h.progress::jsonb, r.progress)
FROM unnest(%(slots)s::bigint[], %(tokens)s::bigint[], %(leases)s::float8[], %(progress)s::text[]) AS h (slot, token, lease, progress)
WHERE r.id = h.slot AND r.token = h.token AND r.lease_until IS NOT NULL
  AND (r.compute_until IS NULL OR r.compute_until > {now})
RETURNING r.id, r.token
