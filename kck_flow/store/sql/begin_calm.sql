-- A computation begins, and no mark is there: the common case, without the plan of the other (begin.sql). No row: that
-- is not so.
SELECT p.version, p.epoch, p.state, p.value, p.sourced, extract(epoch FROM p.computed_at)::float8,
       extract(epoch FROM p.soft_expires_at)::float8, extract(epoch FROM p.hard_expires_at)::float8,
       p.invalid_at IS NOT NULL, p.primer_version, extract(epoch FROM {now})::float8, NULL, NULL, false
FROM ({calm}) calm LEFT JOIN kck_product p ON p.digest = %(digest)s
