-- In the order of their ids, as everywhere: two that lock the same slots meet at the first.
SELECT id FROM kck_refresh WHERE digest = ANY(%(digests)s) ORDER BY id FOR UPDATE
