-- Whether any transaction is open that may have written here, and of which it cannot be told when it began: it was prepared, and
-- has no session any more; or its session belongs to a role that ours may not see into. Of the latter the locks tell, which
-- everybody may see: whoever has a number to write under holds the lock on it. Then our own: whoever is given a number from here
-- on has a larger one.
SELECT EXISTS (SELECT 1 FROM pg_prepared_xacts WHERE database = current_database())
    OR EXISTS (SELECT 1 FROM pg_locks l JOIN pg_stat_activity a USING (pid)
               WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
                 AND a.datname = current_database() AND a.backend_type IS NULL AND a.pid <> pg_backend_pid()),
       pg_current_xact_id()::text
