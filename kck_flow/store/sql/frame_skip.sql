-- Frames that are given up: what has a value keeps it, the rest is skipped. Their slots go, where nobody is at them.
WITH given_up AS (
    INSERT INTO kck_frame AS f (digest, key, key_base, args, series, start_at, end_at, planned_at, primer_version, state, reason, have)
    SELECT u.digest, u.key, %(key_base)s, u.args, u.series, u.start_at, u.end_at, {now}, %(primer_version)s, 'skipped', %(reason)s, 1
    FROM unnest(%(digests)s::uuid[], %(keys)s::text[], %(args)s::jsonb[], %(series)s::uuid[],
                %(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS u (digest, key, args, series, start_at, end_at)
    ORDER BY u.digest
    ON CONFLICT (digest) DO UPDATE SET
        state = CASE WHEN {held} THEN 'closed' ELSE 'skipped' END,
        reason = CASE WHEN {held} THEN f.reason ELSE EXCLUDED.reason END,
        have = f.want, token = NULL
    WHERE %(all)s AND (f.state = 'planned' OR f.want > f.have)
    RETURNING f.digest, f.key
), gone AS (
    DELETE FROM kck_refresh r USING given_up g WHERE r.digest = g.digest AND (r.lease_until IS NULL OR r.lease_until <= {now})
)
SELECT key FROM given_up
