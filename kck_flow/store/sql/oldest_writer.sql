-- When the oldest transaction began that may still write: what it writes counts as of then.
SELECT extract(epoch FROM least({at}, (
    SELECT min(xact_start) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend')))::float8
