-- What reads came to since this process told it last, added to the hour. In one order, so that two never wait for each other.
INSERT INTO kck_usage AS u (key_base, hour, fresh, stale, missed, failed)
SELECT t.key_base, date_trunc('hour', {now}, 'UTC'), t.fresh, t.stale, t.missed, t.failed
FROM unnest(%(key_bases)s::text[], %(fresh)s::bigint[], %(stale)s::bigint[], %(missed)s::bigint[], %(failed)s::bigint[])
     AS t (key_base, fresh, stale, missed, failed)
ORDER BY t.key_base
ON CONFLICT (key_base, hour) DO UPDATE SET
    fresh = u.fresh + EXCLUDED.fresh, stale = u.stale + EXCLUDED.stale, missed = u.missed + EXCLUDED.missed, failed = u.failed + EXCLUDED.failed
