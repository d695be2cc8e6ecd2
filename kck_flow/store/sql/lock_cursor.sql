-- A part of a reader, if nobody else is at it: the lock lasts as long as the transaction, and dies with its process.
-- Then: since when some other transaction has been open that has written, and may have sent what nobody sees yet; which are
-- open; our own; and whether there may be some that cannot be looked at. It is asked for before what has come is: whoever ends
-- in between is seen by that.
SELECT position::text, extract(epoch FROM since)::float8, extract(epoch FROM watermark)::float8, fetched::text, missing::text,
       extract(epoch FROM begun_at)::float8, extract(epoch FROM moved_at)::float8,
       (SELECT extract(epoch FROM min(xact_start))::float8 FROM pg_stat_activity
        WHERE datname = current_database() AND backend_xid IS NOT NULL AND pid <> pg_backend_pid()),
       pg_current_snapshot()::text, pg_current_xact_id_if_assigned()::text,
       EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND backend_type IS NULL AND pid <> pg_backend_pid())
       OR EXISTS (SELECT 1 FROM pg_prepared_xacts WHERE database = current_database())
FROM kck_cursor WHERE reader = %(reader)s AND part = %(part)s FOR UPDATE SKIP LOCKED
