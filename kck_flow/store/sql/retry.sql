-- Revive what is parked, backing off, or has ended its process too often.
UPDATE kck_refresh r SET parked_at = NULL, parked_why = '', retry_at = NULL, attempts = 0, crashes = 0, due_at = {now},
    want = GREATEST(r.want, r.have + 1), reason = 'retry'
WHERE (r.digest = %(digest)s::uuid OR (%(digest)s::uuid IS NULL AND r.parked_at IS NOT NULL AND (%(key_base)s::text IS NULL OR r.key_base = %(key_base)s)))
  AND (r.parked_at IS NOT NULL OR r.retry_at IS NOT NULL OR (r.crashes > 0 AND r.lease_until IS NULL))
RETURNING r.key
