-- The transaction of this database that has been open longest, prepared ones included, and how many deltas there are, up to a
-- bound: what folds delete stays in the table for as long as a snapshot may want it, and each read passes over it.
SELECT coalesce(t.seconds, 0)::float8, coalesce(t.what, ''),
       (SELECT count(*) FROM (SELECT FROM kck_delta LIMIT %(most)s) AS few)
FROM (VALUES (1)) AS single (n) LEFT JOIN (
    SELECT extract(epoch FROM clock_timestamp() - since) AS seconds, what
    FROM (
        SELECT xact_start AS since, 'the session ' || pid AS what FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
          AND backend_type = 'client backend' AND xact_start IS NOT NULL
        UNION ALL
        SELECT prepared, 'the prepared transaction ' || quote_literal(gid) FROM pg_prepared_xacts WHERE database = current_database()
    ) AS held
    ORDER BY since LIMIT 1
) AS t ON true
