-- Take the lease of one product: a reader that found nothing to serve. No row back: somebody else computes it, or it
-- failed a moment ago. `crashes` rises here and is zeroed by any clean end, so that a product that kills its process
-- is counted even though nobody lives to say so.
WITH old AS (
    SELECT * FROM kck_refresh WHERE digest = %(digest)s AND lease_until <= {now} AND lease_owner <> %(dispatched)s
), mine AS (
    INSERT INTO kck_refresh AS r
        (digest, key, key_base, args, lane, want, claimed_want, token, lease_until, lease_owner, crashes, started_at, compute_until, reason)
    VALUES
        (%(digest)s, %(key)s, %(key_base)s, %(args)s, %(lane)s, 1, 1, 1, {now} + %(lease)s * interval '1 second', %(owner)s, 1, {now},
         {now} + %(limit)s * interval '1 second', %(reason)s)
    ON CONFLICT (digest) DO UPDATE SET
        token = r.token + 1,
        want = GREATEST(r.want, r.have + 1),
        claimed_want = GREATEST(r.want, r.have + 1),
        lease_until = EXCLUDED.lease_until,
        lease_owner = EXCLUDED.lease_owner,
        crashes = r.crashes + 1,
        started_at = EXCLUDED.started_at,
        compute_until = EXCLUDED.compute_until,
        reason = EXCLUDED.reason,
        progress = NULL
    WHERE (r.lease_until IS NULL OR r.lease_until <= {now})
      AND (%(force)s OR ((r.retry_at IS NULL OR r.retry_at <= {now}) AND r.crashes < %(crash_limit)s))
    RETURNING r.id, r.token, r.claimed_want, r.attempts, r.cost_ms, extract(epoch FROM r.nominal)::float8 AS nominal, r.reason,
              extract(epoch FROM {now})::float8 AS now
), run AS (
    {lost}
    FROM old l JOIN mine m ON m.token = l.token + 1
)
SELECT id, token, claimed_want, attempts, cost_ms, nominal, reason, now FROM mine
