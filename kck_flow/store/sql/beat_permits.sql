-- A place is held as long as its refresh is.
UPDATE kck_permit m SET lease_until = {now} + h.lease * interval '1 second'
FROM unnest(%(slots)s::bigint[], %(tokens)s::bigint[], %(leases)s::float8[]) AS h (slot, token, lease) WHERE m.slot = h.slot AND m.token = h.token
RETURNING m.place
