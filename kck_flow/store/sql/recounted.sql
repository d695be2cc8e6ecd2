-- A count is published, in the snapshot that it was made in: the deltas that this snapshot sees are in it. Last the fence,
-- and only if it is ours still.
WITH gone AS (
    DELETE FROM kck_delta WHERE generation = %(generation)s
), staged AS (
    DELETE FROM kck_recounted WHERE generation = %(generation)s
), old AS (
    DELETE FROM kck_level l WHERE l.generation = %(generation)s
)
UPDATE kck_generation SET token = NULL, phase = NULL, primed_at = {now}, captured = %(captured)s
WHERE generation = %(generation)s AND live AND (token = %(token)s OR %(token)s IS NULL AND token IS NULL) RETURNING generation
