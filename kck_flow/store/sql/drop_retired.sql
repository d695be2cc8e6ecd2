-- What stocks held under definitions that are out of force: it is counted anew should they come back. What flows counted
-- stays.
WITH retired AS (
    SELECT generation FROM kck_generation WHERE NOT live AND definition ->> 'kind' IS DISTINCT FROM 'flow'
), deltas AS (
    DELETE FROM kck_delta WHERE generation IN (SELECT generation FROM retired)
), recounted AS (
    DELETE FROM kck_recounted WHERE generation IN (SELECT generation FROM retired)
), books AS (
    DELETE FROM kck_book WHERE generation IN (SELECT generation FROM retired)
), openings AS (
    DELETE FROM kck_opening WHERE generation IN (SELECT generation FROM retired)
)
DELETE FROM kck_level WHERE generation IN (SELECT generation FROM retired)
