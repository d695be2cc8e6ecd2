-- Change a part of a value in place: two patches of different paths both survive, since each starts from the row.
UPDATE kck_product p SET
    value = jsonb_set(p.value, %(path)s::text[], %(part)s::jsonb, true), public = NULL,
    version = p.version + 1, computed_at = {now}
WHERE p.digest = %(digest)s AND p.state = 'value' AND (cardinality(%(path)s::text[]) = 1 OR p.value #> (%(path)s::text[])[1:cardinality(%(path)s::text[]) - 1] IS NOT NULL)
RETURNING p.version, p.value, extract(epoch FROM p.computed_at)::float8, extract(epoch FROM p.soft_expires_at)::float8,
          extract(epoch FROM p.hard_expires_at)::float8, p.invalid_at IS NOT NULL
