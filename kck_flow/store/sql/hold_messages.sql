-- One that was set aside before (a topic that went back) stays where it is.
INSERT INTO kck_held (key_base, part, message, source, topic, message_id, partition_key, at, body, headers, state, error, traceback,
                      retry_at, held_at, attempts)
SELECT %(key_base)s, %(part)s, m.message, m.source, m.topic, m.message_id, m.partition_key, m.at, m.body, m.headers, %(state)s,
       m.error, m.trace, {now} + m.pause * interval '1 second', {now}, CASE WHEN %(state)s = 'parked' THEN 1 ELSE 0 END
FROM unnest(%(messages)s::bigint[], %(sources)s::text[], %(topics)s::text[], %(ids)s::text[], %(keys)s::text[], %(ats)s::timestamptz[],
            %(bodies)s::jsonb[], %(headers)s::jsonb[], %(errors)s::text[], %(traces)s::text[], %(pauses)s::float8[]) WITH ORDINALITY
     AS m(message, source, topic, message_id, partition_key, at, body, headers, error, trace, pause, place)
ORDER BY m.place
ON CONFLICT (key_base, message) DO NOTHING
