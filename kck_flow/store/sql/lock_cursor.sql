-- A part of a reader, if nobody else is at it: the lock lasts as long as the transaction, and dies with its process.
SELECT position::text, extract(epoch FROM since)::float8, extract(epoch FROM watermark)::float8, fetched::text, missing::text,
       extract(epoch FROM begun_at)::float8, extract(epoch FROM moved_at)::float8
FROM kck_cursor WHERE reader = %(reader)s AND part = %(part)s FOR UPDATE SKIP LOCKED
