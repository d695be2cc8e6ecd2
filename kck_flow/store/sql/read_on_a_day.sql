-- Remember the day on which products were read last: once a day, so that reading writes next to nothing.
-- SKIP LOCKED: whoever writes one just now is not waited for; a later read tells of it again.
WITH day AS (
    SELECT ({now} - %(ago)s * interval '1 second')::date AS day
)
UPDATE kck_product SET read_at = day FROM day
WHERE digest IN (
    SELECT p.digest FROM kck_product p, day d
    WHERE p.digest = ANY(%(digests)s::uuid[]) AND (p.read_at IS NULL OR p.read_at < d.day)
    ORDER BY p.digest FOR NO KEY UPDATE OF p SKIP LOCKED)
