-- The oldest of those that tick for an executor; what came beside it is struck off.
WITH first AS (
    SELECT min(id) AS id FROM kck_worker WHERE executor = %(executor)s AND mode = 'tick'
), other AS (
    DELETE FROM kck_worker w USING first f WHERE w.executor = %(executor)s AND w.mode = 'tick' AND w.id > f.id RETURNING w.id
)
SELECT f.id FROM first f LEFT JOIN (SELECT count(*) FROM other) o ON true
