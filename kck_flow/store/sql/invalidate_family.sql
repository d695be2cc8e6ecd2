-- The same for all stored products of a primer, or those whose parameters contain the given ones. First computations
-- under way are stopped by the family's Pending row, written beside this.
UPDATE kck_product SET epoch = epoch + 1, invalid_at = coalesce(invalid_at, {now})
WHERE key_base = %(key_base)s AND state <> 'unset' AND (%(args)s::jsonb IS NULL OR params @> %(args)s::jsonb)
  AND NOT coalesce(pending_seen @> to_jsonb(%(mark)s::bigint), false)
RETURNING digest::text, key
