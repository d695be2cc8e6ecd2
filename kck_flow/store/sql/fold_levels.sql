-- Deltas become levels. First the fence of each family is locked, then its deltas are deleted: whoever takes a lease
-- updates the fence, so it waits for us, and no fold begins under it. No test may follow the DELETE: a level that was
-- rejected then would be lost with its deltas.
-- By ctid, which saves a look-up by id for each: a delta is never updated, and none that our snapshot sees is vacuumed.
-- A family that was never counted, and is not being counted, drops its deltas: what will count it sees their causes.
-- Once a long recount has made its cut, what is added since is noted beside the level: its publish will add it again.
-- {changed} tells which keys that changed, where anybody depends on some.
WITH fence AS MATERIALIZED (
    SELECT g.generation, g.primed_at IS NOT NULL OR c.cut AS primed, c.cut
    FROM kck_generation g CROSS JOIN LATERAL (SELECT g.phase IS NOT DISTINCT FROM 'cut' AS cut) c
    WHERE g.generation = ANY(%(generations)s::bigint[]) AND (g.token IS NULL OR c.cut)
    ORDER BY g.generation FOR UPDATE OF g SKIP LOCKED
), taken AS (
    DELETE FROM kck_delta WHERE ctid = ANY(ARRAY(
        SELECT x.ctid FROM fence f CROSS JOIN LATERAL (
            SELECT d.ctid FROM kck_delta d WHERE d.generation = f.generation AND (d.kind = 'add' OR NOT f.primed) LIMIT %(limit)s) x))
    RETURNING generation, args_digest, args, facet, facet_value, start_at, n, amount
), summed AS (
    -- By the text of the value, which its digest is made from: that is worked out once for each sum, and not for each delta.
    SELECT t.generation, t.args_digest, t.facet, t.facet_value::text COLLATE "C" AS value,
           coalesce(t.start_at, '-infinity') AS start_at, min(t.args::text COLLATE "C") AS args,
           sum(t.n)::bigint AS n, sum(t.amount) AS amount,
           CASE WHEN f.cut THEN sum(t.n)::bigint END AS since_n, CASE WHEN f.cut THEN sum(t.amount) END AS since_amount
    FROM taken t JOIN fence f USING (generation) WHERE f.primed
    GROUP BY 1, 2, 3, 4, 5, f.cut
    HAVING sum(t.n) <> 0 OR sum(t.amount) <> 0
), net AS (
    SELECT generation, args_digest, facet, kck_digest(value::jsonb) AS value_digest, start_at, args::jsonb AS args,
           value::jsonb AS facet_value, n, amount, since_n, since_amount FROM summed
), put AS (
    INSERT INTO kck_level AS l
        (generation, args_digest, facet, value_digest, start_at, args, facet_value, n, amount, since_n, since_amount)
    SELECT generation, args_digest, facet, value_digest, start_at, args, facet_value, n, amount, since_n, since_amount FROM net
    ORDER BY generation, args_digest, facet, value_digest, start_at
    ON CONFLICT (generation, args_digest, facet, value_digest, start_at) DO UPDATE SET
        n = l.n + EXCLUDED.n, amount = CASE WHEN EXCLUDED.amount IS NULL THEN l.amount ELSE coalesce(l.amount, 0) + EXCLUDED.amount END,
        since_n = CASE WHEN EXCLUDED.since_n IS NULL THEN l.since_n ELSE coalesce(l.since_n, 0) + EXCLUDED.since_n END,
        since_amount = CASE WHEN EXCLUDED.since_amount IS NULL THEN l.since_amount
                            ELSE coalesce(l.since_amount, 0) + EXCLUDED.since_amount END
    RETURNING l.generation, l.args_digest, l.n
)
SELECT (SELECT count(*) FROM taken), (SELECT array_agg(DISTINCT generation) FROM put WHERE n = 0), {changed}
