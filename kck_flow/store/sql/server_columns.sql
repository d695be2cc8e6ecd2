-- Which columns there are, in the tables that this session finds by their names.
SELECT c.relname::text, a.attname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND c.relname = ANY(%(tables)s) AND pg_table_is_visible(c.oid)
