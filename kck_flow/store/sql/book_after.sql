-- What a recount found and no trigger had told is written into the book, so that it balances, and says so.
WITH before AS (
    DELETE FROM kck_opening WHERE generation = %(generation)s AND side = 3
    RETURNING args_digest, facet, value_digest, args, facet_value, n
), differing AS (
    SELECT coalesce(a.args_digest, b.args_digest) AS args_digest, coalesce(a.facet, b.facet) AS facet,
           coalesce(a.value_digest, b.value_digest) AS value_digest, coalesce(a.args, b.args) AS args,
           coalesce(a.facet_value, b.facet_value) AS facet_value, coalesce(a.n, 0) - coalesce(b.n, 0) AS n
    FROM before b FULL JOIN (
        SELECT * FROM kck_level WHERE generation = %(generation)s AND start_at = '-infinity') a
        ON a.args_digest = b.args_digest AND a.facet = b.facet AND a.value_digest = b.value_digest
    WHERE coalesce(a.n, 0) <> coalesce(b.n, 0)
), noted AS (
    UPDATE kck_book SET corrected_at = {now} WHERE generation = %(generation)s AND EXISTS (SELECT 1 FROM differing)
    RETURNING generation
)
INSERT INTO kck_opening AS o (generation, flow, side, args_digest, facet, value_digest, args, facet_value, n)
SELECT noted.generation, 0, 2, d.args_digest, d.facet, d.value_digest, d.args, d.facet_value, d.n FROM differing d, noted
ON CONFLICT (generation, flow, side, args_digest, facet, value_digest) DO UPDATE SET n = o.n + EXCLUDED.n
