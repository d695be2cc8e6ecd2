-- Served still, but wanted anew: all stored ones of a family; of a mark that is drained, those that have not seen it.
UPDATE kck_product SET soft_expires_at = LEAST(soft_expires_at, {now})
WHERE key_base = %(key_base)s AND state <> 'unset' AND (%(args)s::jsonb IS NULL OR params @> %(args)s::jsonb)
  AND NOT coalesce(pending_seen @> to_jsonb(%(mark)s::bigint), false)
RETURNING key
