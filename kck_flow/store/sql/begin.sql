-- A computation begins: it takes the marks of its product (the entry keeps their effect, should it fail) and learns what
-- it has seen: the fence of its publish. Family-wide marks are remembered by id, since ids alone carry no order: in the
-- row, so that their drain leaves alone what has begun since.
-- SKIP LOCKED: a drain that has marks in hand raises the epoch, and what began before its commit is refused.
-- Last: whether marks are on their way that the stored value has not seen (of the family, or in a drain's hands): then
-- it will not do instead of a computation.
WITH mine AS (
    SELECT * FROM kck_product WHERE digest = %(digest)s
), taken AS (
    DELETE FROM kck_pending WHERE id IN (
        SELECT q.id FROM kck_pending q WHERE q.key_base = %(key_base)s AND q.digest = %(digest)s AND q.kind <> 'change'
          AND NOT coalesce((SELECT m.pending_seen @> to_jsonb(q.id) FROM mine m), false)
        FOR UPDATE SKIP LOCKED)
    RETURNING kind, source, reason
), family AS (
    SELECT q.id, q.kind, q.source, q.reason, coalesce((SELECT m.pending_seen @> to_jsonb(q.id) FROM mine m), false) AS seen
    FROM kck_pending q WHERE q.key_base = %(key_base)s AND q.digest IS NULL AND (q.args IS NULL OR %(args)s::jsonb @> q.args)
), found AS (
    SELECT kind, source, reason, NULL::bigint AS id FROM taken
    UNION ALL
    SELECT kind, source, reason, id FROM family WHERE NOT seen
), mark AS (
    INSERT INTO kck_product AS p (digest, key, key_base, params, state, version, epoch, pending_seen, invalid_at, soft_expires_at)
    SELECT %(digest)s, %(key)s, %(key_base)s, %(args)s::jsonb, 'unset', 0, 0,
           coalesce(jsonb_agg(f.id) FILTER (WHERE f.id IS NOT NULL), '[]'), CASE WHEN bool_or(f.kind = 'stale') THEN {now} END, {now}
    FROM found f HAVING count(*) > 0 AND (count(f.id) > 0 OR EXISTS (SELECT 1 FROM mine))
    ON CONFLICT (digest) DO UPDATE SET
        invalid_at = CASE WHEN EXCLUDED.invalid_at IS NOT NULL THEN coalesce(p.invalid_at, EXCLUDED.invalid_at) ELSE p.invalid_at END,
        soft_expires_at = LEAST(p.soft_expires_at, EXCLUDED.soft_expires_at),
        pending_seen = coalesce(p.pending_seen, '[]') || EXCLUDED.pending_seen
)
SELECT p.version, p.epoch, p.state, p.value, p.sourced, extract(epoch FROM p.computed_at)::float8,
       extract(epoch FROM p.soft_expires_at)::float8, extract(epoch FROM p.hard_expires_at)::float8,
       p.invalid_at IS NOT NULL, p.primer_version, extract(epoch FROM {now})::float8,
       (SELECT jsonb_agg(f.id) FROM family f),
       (SELECT jsonb_agg(jsonb_build_array(f.kind, f.source, f.reason)) FROM (SELECT * FROM found LIMIT 20) f),
       EXISTS (SELECT 1 FROM family f WHERE NOT f.seen) OR EXISTS (
         SELECT 1 FROM kck_pending q WHERE q.key_base = %(key_base)s AND q.digest = %(digest)s AND q.kind <> 'change'
         AND NOT coalesce(p.pending_seen @> to_jsonb(q.id), false))
FROM (SELECT 1) one LEFT JOIN mine p ON true
