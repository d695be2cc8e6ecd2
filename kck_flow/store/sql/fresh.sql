-- The common case, alone: a value that may be served as it is. One column narrow, since a driver builds every column it
-- is sent, and without parameters, since a driver takes its time to put them in: what stands here is a number and a
-- digest of our own. No row means that the long way (read.sql) decides, in a statement and snapshot of its own.
-- {calm} is whether nothing is on its way to it.
SELECT p.value FROM kck_product p
WHERE p.digest = '{digest}' AND p.state = 'value' AND p.primer_version = {primer_version} AND p.invalid_at IS NULL
  AND (p.soft_expires_at IS NULL OR p.soft_expires_at > {now}) AND (p.hard_expires_at IS NULL OR p.hard_expires_at > {now})
  AND {calm}
