-- The same for all stored products of a primer, or those whose parameters contain the given ones; of a mark that is
-- drained, those that have not seen it. First computations under way are stopped by the family's Pending row, written
-- beside this; what was unset, by its epoch.
UPDATE kck_product SET epoch = epoch + 1, invalid_at = CASE WHEN state <> 'unset' THEN coalesce(invalid_at, {now}) ELSE invalid_at END
WHERE key_base = %(key_base)s AND (%(args)s::jsonb IS NULL OR params @> %(args)s::jsonb)
  AND NOT coalesce(pending_seen @> to_jsonb(%(mark)s::bigint), false)
RETURNING digest, key, state <> 'unset'
