-- Room for one more in a cache that is full. SKIP LOCKED: what somebody writes just now is not the oldest.
WITH entries AS (
    SELECT digest, computed_at, coalesce(hard_expires_at <= {now}, false) AS expired,
           row_number() OVER (ORDER BY coalesce(hard_expires_at <= {now}, false) DESC, computed_at, digest) AS place
    FROM kck_product WHERE key_base = %(key_base)s AND digest <> %(digest)s
), counted AS (
    SELECT count(*) AS every, count(*) FILTER (WHERE expired) AS expired FROM entries
), gone AS (
    SELECT e.digest FROM entries e CROSS JOIN counted c
    WHERE c.every >= %(most)s AND e.place <= c.expired + CASE
        WHEN c.every - c.expired < %(most)s THEN 0
        WHEN %(frequency)s = 0 THEN c.every
        ELSE greatest((c.every - c.expired) / greatest(%(frequency)s, 1), 1)
    END
)
DELETE FROM kck_product p USING (
    SELECT q.digest FROM kck_product q JOIN gone USING (digest) ORDER BY q.digest FOR UPDATE OF q SKIP LOCKED
) d WHERE p.digest = d.digest RETURNING 1
