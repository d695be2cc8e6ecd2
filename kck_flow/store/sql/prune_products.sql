-- Delete products, what was recorded of their making, and their slots where nothing is wanted of them any more.
WITH edges AS (
    DELETE FROM kck_edge WHERE downstream = ANY(%(digests)s)
), slots AS (
    DELETE FROM kck_refresh WHERE digest = ANY(%(digests)s) AND due_at IS NULL AND nominal IS NULL AND schedule_digest = '' AND parked_at IS NULL
      AND attempts = 0 AND (lease_until IS NULL OR lease_until <= {now})
)
DELETE FROM kck_product WHERE digest IN (SELECT digest FROM kck_product WHERE digest = ANY(%(digests)s) ORDER BY digest FOR UPDATE SKIP LOCKED)
RETURNING digest
