-- About how many rows a table has: what the last VACUUM or ANALYZE found, scaled by how it has grown since. Counting them would read them all.
SELECT CASE WHEN c.reltuples <= 0 OR c.relpages = 0 THEN pg_relation_size(c.oid) / 200
  ELSE c.reltuples * (pg_relation_size(c.oid) / current_setting('block_size')::float8) / c.relpages END::bigint
FROM pg_class c WHERE c.oid = to_regclass(%(table)s)
