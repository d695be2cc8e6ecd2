-- Where what a family holds differs from what its rows say, in one snapshot: levels and deltas on the one side, a recount on
-- the other. The largest differences first.
WITH asked AS (
    SELECT CASE WHEN %(timed)s THEN {now} ELSE '-infinity'::timestamptz END AS upto
), held AS (
    SELECT args, facet, facet_value, sum(n) AS n, sum(amount) AS amount FROM (
        SELECT l.args, l.facet, l.facet_value, l.n, l.amount FROM kck_level l, asked a
        WHERE l.generation = %(generation)s AND l.start_at <= a.upto
        UNION ALL
        SELECT d.args, d.facet, d.facet_value, d.n, d.amount FROM kck_delta d, asked a
        WHERE d.generation = %(generation)s AND d.kind = 'add' AND coalesce(d.start_at, '-infinity') <= a.upto
    ) parts GROUP BY args, facet, facet_value
), counted AS (
    SELECT r.args, r.facet, r.facet_value, sum(r.n) AS n, sum(r.amount) AS amount FROM ({recount}) r, asked a
    WHERE r.start_at <= a.upto GROUP BY r.args, r.facet, r.facet_value
), both_sides AS (
    SELECT coalesce(h.args, c.args) AS args, coalesce(h.facet, c.facet) AS facet, coalesce(h.facet_value, c.facet_value) AS facet_value,
           coalesce(h.n, 0) AS held, coalesce(c.n, 0) AS counted, coalesce(h.amount, 0) AS held_amount, coalesce(c.amount, 0) AS counted_amount
    FROM held h FULL JOIN counted c ON h.args = c.args AND h.facet = c.facet AND h.facet_value = c.facet_value
)
SELECT args, facet, facet_value, held::bigint, counted::bigint, held_amount, counted_amount FROM both_sides
WHERE held <> counted OR held_amount <> counted_amount
ORDER BY abs(held - counted) DESC, facet, args::text LIMIT %(limit)s
