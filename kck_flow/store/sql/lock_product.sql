-- The stored value under its row's lock: what hooks call "old", and what a fold adds to.
SELECT p.version, p.state, p.value, p.epoch, p.applied, p.invalid_at IS NOT NULL, p.primer_version,
       extract(epoch FROM {now})::float8
FROM kck_product p WHERE p.digest = %(digest)s FOR UPDATE
