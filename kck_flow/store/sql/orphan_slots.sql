-- What waits for a primer that is declared nowhere: no worker will ever take it.
SELECT key_base, count(*)::int FROM kck_refresh WHERE due_at IS NOT NULL AND NOT (key_base = ANY(%(known)s)) GROUP BY key_base ORDER BY key_base
