-- A worker holds a session lock of its number on its listening connection: where the lock is gone, the process is.
SELECT w.id FROM kck_worker w WHERE w.mode = 'listen' AND w.started_at < {now} - interval '1 second' AND NOT EXISTS (
    SELECT 1 FROM pg_locks l WHERE l.locktype = 'advisory' AND l.classid = %(lock_class)s AND l.objid = w.id
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
