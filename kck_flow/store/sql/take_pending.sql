-- Whoever is about to compute takes the marks of this product; the entry keeps their effect, should the compute fail.
-- SKIP LOCKED: a drain that has them in hand raises the epoch, and what began before its commit is refused.
WITH taken AS (
    DELETE FROM kck_pending WHERE id IN (
        SELECT id FROM kck_pending WHERE key_base = %(key_base)s AND digest = %(digest)s AND kind <> 'change'
        FOR UPDATE SKIP LOCKED)
    RETURNING kind, source, reason
), mark AS (
    UPDATE kck_product p SET
        invalid_at = CASE WHEN t.stale THEN coalesce(p.invalid_at, {now}) ELSE p.invalid_at END,
        soft_expires_at = LEAST(p.soft_expires_at, {now})
    FROM (SELECT bool_or(kind = 'stale') AS stale FROM taken HAVING count(*) > 0) t
    WHERE p.digest = %(digest)s
)
SELECT kind, source, reason FROM taken LIMIT 20
