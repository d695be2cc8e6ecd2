-- Whether there is anything for a fold to do, and whether any family is being counted.
SELECT EXISTS (SELECT 1 FROM kck_delta), EXISTS (SELECT 1 FROM kck_generation WHERE token IS NOT NULL)
