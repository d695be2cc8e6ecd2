-- The one statement that ends a lease by the clock, besides a claim. The token rises: a late result is refused.
UPDATE kck_refresh SET lease_until = NULL, lease_owner = '', token = token + 1, due_at = CASE WHEN want > have THEN coalesce(due_at, {now}) ELSE due_at END
WHERE lease_until <= {now} - interval '1 second' RETURNING id
