-- What the server says of itself; the clock as it is, frozen or not.
SELECT current_database()::text, current_setting('server_version_num')::int, current_setting('server_version'),
       extract(epoch FROM clock_timestamp())::float8, pg_backend_pid(), current_setting('transaction_isolation')
