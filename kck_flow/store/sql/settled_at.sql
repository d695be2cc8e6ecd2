-- Up to when nothing can come any more that is of then, in microseconds: no transaction began before it that may still write, or
-- commit what it has prepared. NULL on a standby: those who write are not its own.
SELECT CASE WHEN pg_is_in_recovery() THEN NULL ELSE (extract(epoch FROM {at} - greatest(interval '0',
    (SELECT max(statement_timestamp() - xact_start) FROM pg_stat_activity
     WHERE datname = current_database() AND backend_type NOT IN ('autovacuum worker', 'parallel worker', 'walsender')),
    (SELECT max(statement_timestamp() - prepared) FROM pg_prepared_xacts WHERE database = current_database())
)) * 1000000)::bigint END
