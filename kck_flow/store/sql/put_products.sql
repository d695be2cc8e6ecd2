-- What messages have made of products that this transaction holds. Whoever read one of them to compute something is told
-- beside this.
UPDATE kck_product p SET
    value = one.value, public = one.public, state = 'value', version = p.version + 1, primer_version = %(primer_version)s,
    computed_at = {at}, soft_expires_at = NULL, hard_expires_at = NULL, invalid_at = NULL, applied = NULL,
    read_at = coalesce(p.read_at, ({at})::date)
FROM unnest(%(digests)s::uuid[], %(values)s::jsonb[], %(publics)s::jsonb[]) AS one(digest, value, public)
WHERE p.digest = one.digest
RETURNING p.digest, p.version, extract(epoch FROM p.computed_at)::float8
