-- What stocks hold at some keys, and all that their flows tell of how they came to that, in one statement, hence in one
-- snapshot: a row for each that was asked for, by its number, with these columns.
-- First how it stands; then its rows now and those that nobody accounts for; then what moved since each of some instants (the
-- number of those that lie at or before it, net), when each flow began to count and when it last missed something; last, of
-- windows that an instant lies within: how much of them was counted, how much of that kept as events, and what these say (net)
-- that moved from the instant on.
SELECT q.place::int, t.*
FROM jsonb_array_elements(%(asked)s::jsonb) WITH ORDINALITY AS q (a, place) CROSS JOIN LATERAL (
    WITH asked AS (
        SELECT kck_digest(kck_args((q.a ->> 'args')::jsonb)) AS digest
    ), link AS (
        SELECT * FROM unnest(ARRAY(SELECT jsonb_array_elements_text(q.a -> 'flows')::bigint), ARRAY(SELECT jsonb_array_elements_text(q.a -> 'sides')::smallint), ARRAY(SELECT jsonb_array_elements_text(q.a -> 'theirs')::smallint), ARRAY(SELECT jsonb_array_elements_text(q.a -> 'meant')::jsonb))
            AS l (flow, side, theirs, meant)
    ), within AS (
        SELECT * FROM unnest(ARRAY(SELECT jsonb_array_elements_text(q.a -> 'places')::int), ARRAY(SELECT jsonb_array_elements_text(q.a -> 'within')::bigint), ARRAY(SELECT jsonb_array_elements_text(q.a -> 'bases')::text), ARRAY(SELECT jsonb_array_elements_text(q.a -> 'instants')::timestamptz),
                             ARRAY(SELECT jsonb_array_elements_text(q.a -> 'starts')::timestamptz), ARRAY(SELECT jsonb_array_elements_text(q.a -> 'ends')::timestamptz)) AS w (place, flow, key_base, at, begins, ends)
    ), moved AS MATERIALIZED (
        SELECT l.side, c.start_at, c.n FROM link l CROSS JOIN asked a CROSS JOIN LATERAL (
            SELECT start_at, facet_value, n FROM kck_level
            WHERE generation = l.flow AND args_digest = a.digest AND facet = l.theirs
            UNION ALL
            SELECT start_at, facet_value, n FROM kck_delta
            WHERE generation = l.flow AND args_digest = a.digest AND facet = l.theirs) c
        WHERE l.meant IS NULL OR l.meant = c.facet_value
    ), held AS (
        SELECT coalesce(sum(h.n), 0) AS n FROM asked a CROSS JOIN LATERAL (
            SELECT n FROM kck_level
            WHERE generation = (q.a ->> 'generation')::bigint AND args_digest = a.digest AND start_at = '-infinity' AND facet = 0
            UNION ALL
            SELECT n FROM kck_delta WHERE generation = (q.a ->> 'generation')::bigint AND args_digest = a.digest AND start_at IS NULL AND facet = 0) h
    ), opened AS (
        SELECT coalesce(sum(CASE WHEN o.side IN (0, 2) THEN o.n WHEN o.side = 1 THEN -o.n ELSE o.n END), 0) AS n
        FROM asked a JOIN kck_opening o ON o.generation = (q.a ->> 'generation')::bigint AND o.args_digest = a.digest AND o.facet = 0
        WHERE o.flow = 0 AND o.side IN (0, 2) OR (o.flow, o.side) IN (SELECT flow, side FROM link)
    )
    SELECT g.captured, g.primed_at IS NOT NULL,
           EXISTS (SELECT 1 FROM kck_delta d WHERE d.generation = g.generation AND d.kind = 'invalidate'),
           extract(epoch FROM {now})::float8,
           b.flows, extract(epoch FROM b.opened_at)::float8, extract(epoch FROM b.corrected_at)::float8,
           held.n::bigint, (held.n - opened.n - coalesce((SELECT sum(side * n) FROM moved), 0))::bigint,
           (SELECT jsonb_agg(jsonb_build_array(m.since, m.n)) FROM (
               SELECT width_bucket(start_at, ARRAY(SELECT jsonb_array_elements_text(q.a -> 'upto')::timestamptz)) AS since, sum(side * n) AS n FROM moved GROUP BY 1) m),
           (SELECT jsonb_agg(jsonb_build_array(f.generation, extract(epoch FROM least(f.made_at, f.history_at)), (
                   SELECT extract(epoch FROM max(coalesce(p.end_at, {now} + interval '1 day'))) FROM kck_gap p
                   WHERE p.generation = f.generation)))
            FROM kck_generation f WHERE f.live AND f.generation IN (SELECT flow FROM link)),
           (SELECT jsonb_agg(jsonb_build_array(w.place, w.flow, c.n, e.n, e.net)) FROM within w CROSS JOIN asked a
            CROSS JOIN LATERAL (SELECT coalesce(sum(x.n), 0) AS n FROM (
                SELECT n FROM kck_level WHERE generation = w.flow AND args_digest = a.digest AND facet = 0 AND start_at = w.begins
                UNION ALL
                SELECT n FROM kck_delta WHERE generation = w.flow AND args_digest = a.digest AND facet = 0 AND start_at = w.begins) x) c
            CROSS JOIN LATERAL (SELECT count(*) AS n, coalesce(sum(CASE WHEN v.at < w.at THEN 0 WHEN v.sink = (q.a ->> 'key_base') THEN 1
                                                                    WHEN v.source = (q.a ->> 'key_base') THEN -1 ELSE 0 END), 0) AS net
                FROM kck_event v
                WHERE v.key_base = w.key_base AND v.generation = w.flow AND v.at >= w.begins AND v.at < w.ends
                  AND kck_digest(v.args) = a.digest) e)
    FROM held, opened, kck_generation g LEFT JOIN kck_book b ON b.generation = g.generation
    WHERE g.generation = (q.a ->> 'generation')::bigint AND g.live
) t
