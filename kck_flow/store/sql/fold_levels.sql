-- Deltas become levels. First the fence of each family is locked, then its deltas are deleted: whoever takes a lease
-- updates the fence, so it waits for us, and no fold begins under it. No test may follow the DELETE: a level that was
-- rejected then would be lost with its deltas.
-- A family that was never counted, and is not being counted, drops its deltas: what will count it sees their causes.
WITH fence AS MATERIALIZED (
    SELECT g.generation, g.primed_at IS NOT NULL AS primed FROM kck_generation g
    WHERE g.generation = ANY(%(generations)s::bigint[]) AND g.token IS NULL
    ORDER BY g.generation FOR UPDATE SKIP LOCKED
), taken AS (
    DELETE FROM kck_delta WHERE id IN (
        SELECT x.id FROM fence f CROSS JOIN LATERAL (
            SELECT d.id FROM kck_delta d WHERE d.generation = f.generation AND (d.kind = 'add' OR NOT f.primed) LIMIT %(limit)s) x)
    RETURNING generation, args_digest, args, facet, facet_value, start_at, n, amount
), net AS (
    SELECT t.generation, t.args_digest, t.facet, kck_digest(t.facet_value) AS value_digest,
           coalesce(t.start_at, '-infinity') AS start_at, (array_agg(t.args))[1] AS args,
           (array_agg(t.facet_value))[1] AS facet_value, sum(t.n)::bigint AS n, sum(t.amount) AS amount
    FROM taken t JOIN fence f USING (generation) WHERE f.primed
    GROUP BY 1, 2, 3, 4, 5
    HAVING sum(t.n) <> 0 OR sum(t.amount) <> 0
), put AS (
    INSERT INTO kck_level AS l (generation, args_digest, facet, value_digest, start_at, args, facet_value, n, amount)
    SELECT generation, args_digest, facet, value_digest, start_at, args, facet_value, n, amount FROM net
    ORDER BY generation, args_digest, facet, value_digest, start_at
    ON CONFLICT (generation, args_digest, facet, value_digest, start_at) DO UPDATE SET
        n = l.n + EXCLUDED.n, amount = CASE WHEN EXCLUDED.amount IS NULL THEN l.amount ELSE coalesce(l.amount, 0) + EXCLUDED.amount END
    RETURNING l.generation, l.args_digest, l.n
)
SELECT (SELECT count(*) FROM taken), (SELECT array_agg(DISTINCT generation) FROM put WHERE n = 0)
