-- From when on the windows of a flow that started from events are known to be whole: as those of the definition before are, and
-- where what this counted was kept as events, one for one ({events}). Where a window differs, from the next one on.
WITH before AS (
    SELECT least(made_at, history_at) AS since FROM kck_generation WHERE generation = %(before)s AND live
), counted AS (
    SELECT args_digest, start_at, sum(n) AS n FROM (
        SELECT args_digest, start_at, n FROM kck_level WHERE generation = %(before)s AND facet = 0
        UNION ALL
        SELECT args_digest, start_at, n FROM kck_delta WHERE generation = %(before)s AND facet = 0) c
    GROUP BY 1, 2
), kept AS (
    SELECT kck_digest(e.args) AS args_digest, e.start_at, e.n FROM ({events}) e
), unlike AS (
    SELECT max(coalesce(c.start_at, k.start_at)) AS start_at
    FROM counted c FULL JOIN kept k ON k.args_digest = c.args_digest AND k.start_at = c.start_at
    WHERE coalesce(c.n, 0) <> coalesce(k.n, 0)
), since AS (
    SELECT greatest(b.since, CASE WHEN u.start_at IS NOT NULL
               THEN coalesce((SELECT min(c.start_at) FROM counted c WHERE c.start_at > u.start_at), 'infinity') END) AS at
    FROM before b, unlike u
)
UPDATE kck_generation g SET history_at = s.at FROM since s
WHERE g.generation = %(generation)s AND s.at < {now} RETURNING g.generation
