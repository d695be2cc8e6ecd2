-- Publish a computed value. The row must be the one the compute began from (version and epoch). A value whose sources
-- moved meanwhile is kept, but not as fresh. An equal value keeps its version and wakes nobody.
-- {gate} is the slot that must be ours, where the same statement ends it.
-- {moved} tells what moved meanwhile (moved.sql), or that nothing can have (unmoved.sql).
{moved}
INSERT INTO kck_product AS p
    (digest, key, key_base, params, value, public, state, version, epoch, primer_version, sourced, pending_seen,
     computed_at, soft_expires_at, hard_expires_at, invalid_at, read_at)
SELECT %(digest)s, %(key)s, %(key_base)s, %(params)s::jsonb, %(value)s::jsonb, %(public)s::jsonb, %(state)s,
       %(version)s + 1, %(epoch)s, %(primer_version)s, %(sourced)s,
       coalesce(%(seen)s::jsonb, '[]') || coalesce((SELECT jsonb_agg(id) FROM contained), '[]'),
       {at}, CASE WHEN m.wanted THEN {at} ELSE {at} + %(soft)s * interval '1 second' END,
       {at} + %(hard)s * interval '1 second', CASE WHEN m.stale THEN {at} END, ({at})::date
FROM moved m{gate}
ON CONFLICT (digest) DO UPDATE SET
    version = CASE WHEN p.state = EXCLUDED.state AND p.value IS NOT DISTINCT FROM EXCLUDED.value AND p.primer_version = EXCLUDED.primer_version
              THEN p.version ELSE p.version + 1 END,
    key = EXCLUDED.key, key_base = EXCLUDED.key_base, params = EXCLUDED.params,
    value = EXCLUDED.value, public = EXCLUDED.public, state = EXCLUDED.state,
    primer_version = EXCLUDED.primer_version, sourced = EXCLUDED.sourced, pending_seen = EXCLUDED.pending_seen,
    computed_at = EXCLUDED.computed_at, soft_expires_at = EXCLUDED.soft_expires_at,
    hard_expires_at = EXCLUDED.hard_expires_at, invalid_at = EXCLUDED.invalid_at
WHERE p.version = %(version)s AND p.epoch = %(epoch)s
RETURNING p.version, p.version <> %(version)s AS changed, p.soft_expires_at <= {at} OR p.invalid_at IS NOT NULL AS stale,
          extract(epoch FROM p.computed_at)::float8 AS computed, extract(epoch FROM p.soft_expires_at)::float8 AS soft,
          extract(epoch FROM p.hard_expires_at)::float8 AS hard, p.invalid_at IS NOT NULL AS invalid
