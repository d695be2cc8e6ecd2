-- Who makes what is missing: the first who says so, until the time is over.
INSERT INTO kck_flight AS f (digest, lease_until) VALUES (%(digest)s, {now} + %(seconds)s * interval '1 second')
ON CONFLICT (digest) DO UPDATE SET lease_until = EXCLUDED.lease_until WHERE f.lease_until <= {now}
RETURNING lease_until
