-- A product after its changes, under its row's lock. Folding makes it no older: the expiries begin anew. But one that is
-- wanted anew stays so: the changes are not all that it is made from.
UPDATE kck_product p SET
    value = %(value)s::jsonb, public = %(public)s::jsonb, state = %(state)s,
    version = p.version + (%(changed)s)::int, applied = %(applied)s::jsonb, computed_at = {at},
    soft_expires_at = CASE WHEN p.soft_expires_at <= {at} THEN p.soft_expires_at ELSE {at} + %(soft)s * interval '1 second' END,
    hard_expires_at = {at} + %(hard)s * interval '1 second'
WHERE p.digest = %(digest)s
RETURNING p.version, %(changed)s, false, extract(epoch FROM p.computed_at)::float8, extract(epoch FROM p.soft_expires_at)::float8,
          extract(epoch FROM p.hard_expires_at)::float8, p.invalid_at IS NOT NULL
