-- Whether somebody computes a product. Where the lock of the worker that holds the lease is gone, nobody does: leases
-- of workers are long, and where no other worker lives nobody ends them before their time.
SELECT 1 FROM kck_refresh r WHERE r.digest = %(digest)s AND r.lease_until > {now} AND NOT EXISTS (
    SELECT 1 FROM kck_worker w WHERE r.lease_owner = 'w' || w.id AND w.mode = 'listen'
      AND w.started_at < {now} - interval '1 second' AND NOT EXISTS (
        SELECT 1 FROM pg_locks l WHERE l.locktype = 'advisory' AND l.classid = %(lock_class)s AND l.objid = w.id
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())))
