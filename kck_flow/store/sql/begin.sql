-- A computation begins: it takes the marks of its product (the entry keeps their effect, should it fail) and learns what
-- it has seen: the fence of its publish. Family-wide marks are remembered by id, since ids alone carry no order.
-- SKIP LOCKED: a drain that has marks in hand raises the epoch, and what began before its commit is refused.
-- Last: whether marks are on their way that the stored value has not seen (of the family, or in a drain's hands): then
-- it will not do instead of a computation.
WITH taken AS (
    DELETE FROM kck_pending WHERE id IN (
        SELECT q.id FROM kck_pending q WHERE q.key_base = %(key_base)s AND q.digest = %(digest)s AND q.kind <> 'change'
          AND NOT coalesce((SELECT p.pending_seen @> to_jsonb(q.id) FROM kck_product p WHERE p.digest = %(digest)s), false)
        FOR UPDATE SKIP LOCKED)
    RETURNING kind, source, reason
), mark AS (
    UPDATE kck_product p SET
        invalid_at = CASE WHEN t.stale THEN coalesce(p.invalid_at, {now}) ELSE p.invalid_at END,
        soft_expires_at = LEAST(p.soft_expires_at, {now})
    FROM (SELECT bool_or(kind = 'stale') AS stale FROM taken HAVING count(*) > 0) t
    WHERE p.digest = %(digest)s
)
SELECT p.version, p.epoch, p.state, p.value, p.sourced, extract(epoch FROM p.computed_at)::float8,
       extract(epoch FROM p.soft_expires_at)::float8, extract(epoch FROM p.hard_expires_at)::float8,
       p.invalid_at IS NOT NULL, p.primer_version, extract(epoch FROM {now})::float8,
       (SELECT jsonb_agg(q.id) FROM kck_pending q
         WHERE q.key_base = %(key_base)s AND q.digest IS NULL AND (q.args IS NULL OR %(args)s::jsonb @> q.args)),
       (SELECT jsonb_agg(jsonb_build_array(t.kind, t.source, t.reason)) FROM (SELECT * FROM taken LIMIT 20) t),
       EXISTS (SELECT 1 FROM kck_pending q WHERE q.key_base = %(key_base)s AND q.kind <> 'change'
         AND (q.digest = %(digest)s OR q.digest IS NULL AND (q.args IS NULL OR %(args)s::jsonb @> q.args))
         AND NOT coalesce(p.pending_seen @> to_jsonb(q.id), false))
FROM (SELECT 1) one LEFT JOIN kck_product p ON p.digest = %(digest)s
