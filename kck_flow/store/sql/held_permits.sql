-- Which families are full: their slots need not be claimed now.
SELECT key_base, count(*)::int FROM kck_permit WHERE key_base = ANY(%(key_bases)s) AND lease_until > {now} GROUP BY key_base
