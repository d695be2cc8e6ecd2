-- The balance of a stock, in one statement, hence in one snapshot: what it held at its opening, what its flows have counted
-- into and out of it since, what recounts have corrected, and what it holds. First the sums over all keys by facet (0 is the
-- total), then the keys at which the total leaves a rest, the largest first. Rows of a flow whose key is NULL somewhere
-- belong to no key of a stock.
WITH link AS (
    SELECT * FROM unnest(%(flows)s::bigint[], %(sides)s::smallint[], %(theirs)s::smallint[], %(ours)s::smallint[],
                         %(meant)s::jsonb[]) AS l (flow, side, theirs, facet, meant)
), told AS (
    SELECT args, facet, facet_value, 0::bigint AS opening, 0::bigint AS ins, 0::bigint AS outs, 0::bigint AS corrected, n AS closing
    FROM kck_level WHERE generation = %(generation)s AND start_at = '-infinity'
    UNION ALL
    SELECT args, facet, facet_value, 0, 0, 0, 0, n FROM kck_delta WHERE generation = %(generation)s AND kind = 'add'
    UNION ALL
    SELECT o.args, o.facet, o.facet_value, CASE WHEN o.side = 0 THEN o.n ELSE 0 END, CASE WHEN o.side = 1 THEN -o.n ELSE 0 END,
           CASE WHEN o.side = -1 THEN -o.n ELSE 0 END, CASE WHEN o.side = 2 THEN o.n ELSE 0 END, 0
    FROM kck_opening o
    WHERE o.generation = %(generation)s
      AND (o.flow = 0 OR (o.flow, o.side, o.facet) IN (SELECT l.flow, l.side, l.facet FROM link l))
    UNION ALL
    SELECT f.args, l.facet, CASE WHEN l.facet = 0 THEN 'null'::jsonb ELSE f.facet_value END, 0,
           CASE WHEN l.side = 1 THEN f.n ELSE 0 END, CASE WHEN l.side = -1 THEN f.n ELSE 0 END, 0, 0
    FROM link l CROSS JOIN LATERAL (
        SELECT args, facet_value, n FROM kck_level WHERE generation = l.flow AND facet = l.theirs
        UNION ALL
        SELECT args, facet_value, n FROM kck_delta WHERE generation = l.flow AND facet = l.theirs) f
    WHERE l.meant IS NULL OR l.meant = f.facet_value
), place AS (
    SELECT args, facet, sum(opening) AS opening, sum(ins) AS ins, sum(outs) AS outs, sum(corrected) AS corrected,
           sum(closing) AS closing
    FROM told WHERE NOT jsonb_path_exists(args, '$.* ? (@ == null)') GROUP BY args, facet
)
SELECT b.flows, extract(epoch FROM b.opened_at)::float8, extract(epoch FROM b.corrected_at)::float8,
       (SELECT jsonb_agg(jsonb_build_array(s.facet, s.opening, s.ins, s.outs, s.corrected, s.closing) ORDER BY s.facet) FROM (
           SELECT facet, sum(opening) AS opening, sum(ins) AS ins, sum(outs) AS outs, sum(corrected) AS corrected,
                  sum(closing) AS closing
           FROM place GROUP BY facet) s),
       (SELECT jsonb_agg(jsonb_build_array(r.args, r.opening, r.ins, r.outs, r.corrected, r.closing)) FROM (
           SELECT * FROM place WHERE facet = 0 AND opening + ins - outs + corrected <> closing
           ORDER BY abs(closing - opening - ins + outs - corrected) DESC, args::text LIMIT %(limit)s) r)
FROM kck_book b WHERE b.generation = %(generation)s
