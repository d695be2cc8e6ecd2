-- The one statement that ends a lease by the clock, besides a claim. The token rises: a late result is refused.
-- A dispatch that nobody followed was no attempt, hence no run.
WITH held AS (
    SELECT r.* FROM kck_refresh r WHERE r.lease_until <= {now} - interval '1 second' ORDER BY r.id FOR UPDATE
), ended AS (
    UPDATE kck_refresh r SET lease_until = NULL, lease_owner = '', token = r.token + 1,
        due_at = CASE WHEN r.want > r.have OR r.due_at IS NOT NULL THEN GREATEST(r.due_at, {now} + (power(2, LEAST(GREATEST(r.crashes, 1), 10) - 1) - 1) * interval '1 second') END
    FROM held h WHERE r.id = h.id
), run AS (
    {lost}
    FROM held l WHERE l.lease_owner <> %(dispatched)s
)
SELECT id FROM held
