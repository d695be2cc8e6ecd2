-- A lease is ended by explicit statements only, never by a clock compared here: a slow computation must find its lease
-- gone, not merely old. No slot means that nobody ever computed it under a lease.
WITH s AS (SELECT lease_until FROM kck_refresh WHERE digest = %(digest)s FOR UPDATE SKIP LOCKED)
SELECT CASE WHEN EXISTS (SELECT 1 FROM s) THEN (SELECT lease_until IS NULL FROM s)
            ELSE NOT EXISTS (SELECT 1 FROM kck_refresh WHERE digest = %(digest)s) END
