-- One transition that Python has seen, kept as triggers keep theirs. Its instant is that of its delta.
INSERT INTO kck_event (key_base, generation, args, subject_type, subject_id, source, sink, at, xact, facets, callback_state)
SELECT %(key_base)s, g.generation, %(args)s::jsonb, %(type)s, %(id)s, %(source)s, %(sink)s,
       CASE WHEN t.given BETWEEN '1900-01-01Z'::timestamptz AND transaction_timestamp() + interval '1 day'
           THEN t.given ELSE transaction_timestamp() END,
       pg_current_xact_id()::text::bigint,
       (SELECT coalesce(jsonb_object_agg(n.name, v.value), '{}')
        FROM jsonb_array_elements(%(facets)s::jsonb) WITH ORDINALITY AS v (value, place)
        JOIN unnest(%(names)s::text[]) WITH ORDINALITY AS n (name, place) USING (place)),
       %(state)s
FROM kck_generation g CROSS JOIN (SELECT %(at)s::timestamptz AS given) t
WHERE g.generation = %(generation)s AND g.live
RETURNING id
