-- As fresh.sql, for who passes the value on as it is: its plain JSON, and what is known of it. Of a version that is known
-- already, the value stays where it is. No row means that the long way decides.
SELECT p.version, extract(epoch FROM p.computed_at)::float8, extract(epoch FROM p.soft_expires_at)::float8,
       extract(epoch FROM p.hard_expires_at)::float8,
       CASE WHEN {stamp} = '{known}' THEN NULL ELSE coalesce(p.public, p.value) END, {stamp}
FROM kck_product p
WHERE p.digest = '{digest}' AND p.state = 'value' AND p.primer_version = {primer_version} AND p.invalid_at IS NULL
  AND (p.soft_expires_at IS NULL OR p.soft_expires_at > {now}) AND (p.hard_expires_at IS NULL OR p.hard_expires_at > {now})
  AND {calm}
