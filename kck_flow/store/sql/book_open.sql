-- The opening balance, in one statement, hence in one snapshot: what the stock holds, and what each flow has counted by now
-- into it and out of it. The balance is struck over what comes after.
WITH link AS (
    SELECT * FROM unnest(%(flows)s::bigint[], %(sides)s::smallint[], %(theirs)s::smallint[], %(ours)s::smallint[],
                         %(meant)s::jsonb[]) AS l (flow, side, theirs, facet, meant)
), told AS (
    SELECT 0::bigint AS flow, 0::smallint AS side, s.args, s.facet, s.facet_value, s.n FROM (
        SELECT args, facet, facet_value, n FROM kck_level WHERE generation = %(generation)s AND start_at = '-infinity'
        UNION ALL
        SELECT args, facet, facet_value, n FROM kck_delta WHERE generation = %(generation)s AND kind = 'add') s
    UNION ALL
    SELECT l.flow, l.side, f.args, l.facet, CASE WHEN l.facet = 0 THEN 'null'::jsonb ELSE f.facet_value END, f.n
    FROM link l CROSS JOIN LATERAL (
        SELECT args, facet_value, n FROM kck_level WHERE generation = l.flow AND facet = l.theirs
        UNION ALL
        SELECT args, facet_value, n FROM kck_delta WHERE generation = l.flow AND facet = l.theirs) f
    WHERE l.meant IS NULL OR l.meant = f.facet_value
)
INSERT INTO kck_opening (generation, flow, side, args_digest, facet, value_digest, args, facet_value, n)
SELECT %(generation)s, flow, side, kck_digest(args), facet, kck_digest(facet_value), args, facet_value, sum(n)
FROM told GROUP BY flow, side, args, facet, facet_value HAVING sum(n) <> 0
