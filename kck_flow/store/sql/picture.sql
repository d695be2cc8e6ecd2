-- A process at one key, in one statement, hence in one snapshot. Each row: what it is, stock, flow, side, whether it is split by
-- the facet, facet value, step, number; of a flow also where it lies: before (-1), in (0) or after (1) the period.
-- `stocks` pairs a stock with the facet it is split by, `links` (a stock, a flow, the side, and which facets mean what).
WITH asked AS (
    SELECT kck_digest(kck_args(%(args)s::jsonb)) AS digest
), stock AS (
    SELECT * FROM unnest(%(stocks)s::bigint[], %(split)s::smallint[]) AS s (stock, facet)
), link AS (
    SELECT * FROM unnest(%(holders)s::bigint[], %(flows)s::bigint[], %(sides)s::smallint[], %(theirs)s::smallint[],
                         %(ours)s::smallint[], %(meant)s::jsonb[]) AS l (stock, flow, side, theirs, facet, meant)
), counted AS (
    SELECT c.generation, c.facet, c.facet_value, c.n,
           CASE WHEN c.start_at < %(start)s::timestamptz THEN -1 WHEN c.start_at >= %(end)s::timestamptz THEN 1 ELSE 0 END AS place,
           CASE WHEN c.start_at >= %(start)s::timestamptz AND c.start_at < %(end)s::timestamptz THEN {step} END AS step
    FROM (SELECT DISTINCT flow, theirs FROM link) w CROSS JOIN asked a CROSS JOIN LATERAL (
        SELECT generation, facet, facet_value, n, start_at FROM kck_level
        WHERE generation = w.flow AND args_digest = a.digest AND facet = w.theirs
        UNION ALL
        SELECT generation, facet, facet_value, n, start_at FROM kck_delta
        WHERE generation = w.flow AND args_digest = a.digest AND facet = w.theirs) c
)
SELECT 'held', s.stock, 0::bigint, 0::smallint, h.facet > 0, h.facet_value, NULL::float8, sum(h.n)::bigint, 0
FROM stock s CROSS JOIN asked a CROSS JOIN LATERAL (
    SELECT facet, facet_value, n FROM kck_level
    WHERE generation = s.stock AND args_digest = a.digest AND start_at = '-infinity' AND facet IN (0, s.facet)
    UNION ALL
    SELECT facet, facet_value, n FROM kck_delta
    WHERE generation = s.stock AND args_digest = a.digest AND start_at IS NULL AND facet IN (0, s.facet)) h
GROUP BY s.stock, h.facet, h.facet_value
UNION ALL
SELECT 'mark', o.generation, o.flow, o.side, o.facet > 0, o.facet_value, NULL, o.n, 0
FROM stock s CROSS JOIN asked a JOIN kck_opening o ON o.generation = s.stock AND o.args_digest = a.digest AND o.facet IN (0, s.facet)
UNION ALL
SELECT 'flow', l.stock, l.flow, l.side, l.facet > 0, CASE WHEN l.facet > 0 THEN c.facet_value ELSE 'null'::jsonb END,
       extract(epoch FROM c.step)::float8, sum(c.n)::bigint, c.place
FROM link l JOIN counted c ON c.generation = l.flow AND c.facet = l.theirs AND (l.meant IS NULL OR l.meant = c.facet_value)
GROUP BY 2, 3, 4, 5, 6, 7, 9
UNION ALL
SELECT 'book', b.generation, 0, 0, false, b.flows, extract(epoch FROM b.opened_at)::float8, 0, 0
FROM stock s JOIN kck_book b ON b.generation = s.stock
UNION ALL
SELECT 'corrected', b.generation, 0, 0, false, 'null', extract(epoch FROM b.corrected_at)::float8, 0, 0
FROM stock s JOIN kck_book b ON b.generation = s.stock WHERE b.corrected_at IS NOT NULL
UNION ALL
SELECT 'family', g.generation, 0, 0, false,
       jsonb_build_array(g.captured, EXISTS (SELECT 1 FROM kck_delta d WHERE d.generation = g.generation AND d.kind = 'invalidate'),
                         EXISTS (SELECT 1 FROM kck_gap p WHERE p.generation = g.generation AND p.start_at < %(end)s::timestamptz
                                 AND coalesce(p.end_at, 'infinity') > greatest(%(start)s::timestamptz, least(g.made_at, g.history_at)))),
       extract(epoch FROM CASE WHEN g.definition ->> 'kind' = 'flow' THEN g.made_at ELSE g.primed_at END)::float8, 0, 0
FROM kck_generation g WHERE g.live AND (g.generation IN (SELECT stock FROM stock) OR g.generation IN (SELECT flow FROM link))
UNION ALL
SELECT 'now', 0, 0, 0, false, 'null', extract(epoch FROM {now})::float8, 0, 0
