-- Since when a definition keeps events, in microseconds. No row: it does not.
SELECT (extract(epoch FROM made_at) * 1000000)::bigint FROM kck_generation
WHERE generation = %(generation)s AND live AND events IS NOT NULL
