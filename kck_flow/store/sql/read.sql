-- One product as the caller's snapshot sees it, with what is on its way to it, in one statement: two would be two
-- snapshots. Instants come as floats (a driver's datetime costs more than the whole row). Optional parts:
-- {probe} whether changes are on their way (2 stale, 1 refresh), {changes} those to fold in, {dirty} whether the
-- caller's transaction has written.
SELECT p.value, p.state, p.version, p.epoch, p.primer_version, p.sourced,
       extract(epoch FROM p.computed_at)::float8, extract(epoch FROM p.soft_expires_at)::float8,
       extract(epoch FROM p.hard_expires_at)::float8, extract(epoch FROM p.invalid_at)::float8,
       extract(epoch FROM {now})::float8, {probe}, {changes}, {dirty}, p.key
FROM kck_product p
WHERE p.digest = {one}
