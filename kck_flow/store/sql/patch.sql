-- Change a part of a value in place: two patches of different paths both survive, since each starts from the row.
-- The place is in an object that is a dict (a tagged one, "$set", is a value of its own) or at a position of an array:
-- of anything else jsonb_set would raise, or quietly change nothing.
UPDATE kck_product p SET
    value = jsonb_set(p.value, %(path)s::text[], %(part)s::jsonb, true), public = NULL,
    version = p.version + 1, computed_at = {now}
WHERE p.digest = %(digest)s AND p.state = 'value'
  AND CASE jsonb_typeof(p.value #> (%(path)s::text[])[1:cardinality(%(path)s::text[]) - 1])
      WHEN 'object' THEN NOT EXISTS (
          SELECT FROM jsonb_object_keys(p.value #> (%(path)s::text[])[1:cardinality(%(path)s::text[]) - 1]) k
          WHERE left(k, 1) = '$' AND left(k, 2) <> '$$' AND k <> '$order')
      WHEN 'array' THEN (%(path)s::text[])[cardinality(%(path)s::text[])] ~ '^-?[0-9]{1,9}$'
      ELSE false END
RETURNING p.version, p.value, extract(epoch FROM p.computed_at)::float8, extract(epoch FROM p.soft_expires_at)::float8,
          extract(epoch FROM p.hard_expires_at)::float8, p.invalid_at IS NOT NULL
