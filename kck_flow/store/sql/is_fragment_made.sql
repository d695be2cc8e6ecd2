-- Whether somebody makes it, and has time left.
SELECT 1 FROM kck_flight WHERE digest = %(digest)s AND lease_until > {now}
