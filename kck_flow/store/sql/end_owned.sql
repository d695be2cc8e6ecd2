-- A worker has died: what it held is due at once; what ends its process again and again, after longer and longer pauses.
WITH held AS (
    SELECT r.* FROM kck_refresh r WHERE r.lease_owner = %(owner)s AND r.lease_until IS NOT NULL ORDER BY r.id FOR UPDATE
), ended AS (
    UPDATE kck_refresh r SET lease_until = NULL, lease_owner = '', token = r.token + 1,
        due_at = {now} + (power(2, LEAST(GREATEST(r.crashes, 1), 10) - 1) - 1) * interval '1 second'
    FROM held h WHERE r.id = h.id
), run AS (
    {lost}
    FROM held l
)
SELECT key FROM held
