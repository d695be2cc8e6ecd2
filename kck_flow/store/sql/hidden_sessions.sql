-- Of a session of another role that ours may not see into, everything but its being there is NULL.
SELECT count(*)::int, current_user::text FROM pg_stat_activity
WHERE datname = current_database() AND backend_type IS NULL
