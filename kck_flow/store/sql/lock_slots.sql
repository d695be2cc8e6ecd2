-- In the order of their ids, as everywhere: two that lock the same slots meet at the first. And which are leased by now.
SELECT digest, coalesce(lease_until > {now}, false) FROM kck_refresh WHERE digest = ANY(%(digests)s) ORDER BY id FOR UPDATE
