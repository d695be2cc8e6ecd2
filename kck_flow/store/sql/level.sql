-- What one key of a counted family holds: its levels and what is not folded into them yet, in one statement, hence in one
-- snapshot, the reader's own uncommitted work included. No row: no capture of this definition is known here.
-- What a timed family holds is dated: of that, what has come about by now.
-- `void`: something happened that no delta can tell (a TRUNCATE): the levels are worth nothing until the next count.
WITH asked AS (
    SELECT kck_digest(kck_args(%(args)s::jsonb)) AS digest, CASE WHEN %(timed)s THEN {now} ELSE '-infinity'::timestamptz END AS upto
), parts AS (
    SELECT l.facet, l.facet_value, l.n, l.amount FROM kck_level l, asked a
    WHERE l.generation = %(generation)s AND l.args_digest = a.digest AND l.start_at <= a.upto
    UNION ALL
    SELECT d.facet, d.facet_value, d.n, d.amount FROM kck_delta d, asked a
    WHERE d.generation = %(generation)s AND d.args_digest = a.digest AND coalesce(d.start_at, '-infinity') <= a.upto
)
SELECT extract(epoch FROM g.primed_at)::float8, g.captured, g.token,
       EXISTS (SELECT 1 FROM kck_delta d WHERE d.generation = g.generation AND d.args_digest = '00000000-0000-0000-0000-000000000000'),
       (SELECT count(*) FROM kck_delta d, asked a WHERE d.generation = g.generation AND d.args_digest = a.digest),
       extract(epoch FROM {now})::float8,
       (SELECT jsonb_agg(jsonb_build_array(s.facet, s.facet_value, s.n, s.amount)) FROM (
           SELECT facet, facet_value, sum(n) AS n, sum(amount) AS amount FROM parts GROUP BY facet, facet_value
           HAVING sum(n) <> 0) s)
FROM kck_generation g WHERE g.generation = %(generation)s AND g.live
