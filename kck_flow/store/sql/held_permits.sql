-- Which families are full: their slots need not be claimed now.
SELECT m.key_base, count(*)::int FROM kck_permit m JOIN kck_refresh r ON r.id = m.slot AND r.token = m.token
WHERE m.key_base = ANY(%(key_bases)s) AND m.lease_until > {now} AND r.lease_until IS NOT NULL GROUP BY m.key_base
