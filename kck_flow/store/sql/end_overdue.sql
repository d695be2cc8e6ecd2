-- The one statement that ends a lease by the clock, besides a claim. The token rises: a late result is refused.
UPDATE kck_refresh SET lease_until = NULL, lease_owner = '', token = token + 1, due_at = CASE WHEN want > have OR due_at IS NOT NULL THEN GREATEST(due_at, {now} + (power(2, LEAST(GREATEST(crashes, 1), 10) - 1) - 1) * interval '1 second') END
WHERE lease_until <= {now} - interval '1 second' RETURNING id
