-- A hint is followed: the dispatch lease becomes that of whoever computes. The token rises, so that the same hint is
-- followed once; what was asked for on the way is answered, too; from here on an end without a word is a crash.
UPDATE kck_refresh r SET
    token = r.token + 1,
    want = GREATEST(r.want, r.have + 1),
    claimed_want = GREATEST(r.want, r.have + 1),
    lease_until = {now} + %(lease)s * interval '1 second',
    lease_owner = %(owner)s,
    crashes = r.crashes + 1,
    started_at = {now}
WHERE r.id = %(slot)s AND r.token = %(token)s AND r.lease_until IS NOT NULL AND r.lease_owner = %(dispatched)s
RETURNING r.id, r.token, r.claimed_want, r.attempts, r.cost_ms, extract(epoch FROM r.nominal)::float8, r.reason,
          extract(epoch FROM {now})::float8, r.key, r.key_base, r.lane, r.crashes, extract(epoch FROM r.due_at)::float8,
          r.schedule_digest
