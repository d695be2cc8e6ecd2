-- Indexes that would make every beat of a lease a full update.
SELECT DISTINCT i.indexrelid::regclass::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
WHERE i.indrelid = to_regclass('kck_refresh') AND a.attname = ANY(%(columns)s) ORDER BY 1
