-- Put products back. Where one stands that was computed later, it stays (unless told otherwise); where one is replaced its
-- version goes on and never back, and a computation under way finds another epoch and is refused.
INSERT INTO kck_product AS p
    (digest, key, key_base, params, value, public, state, version, epoch, primer_version, sourced, applied, computed_at,
     soft_expires_at, hard_expires_at, invalid_at, read_at)
SELECT u.digest, g->>'key', g->>'key_base', g->'params', nullif(g->'value', 'null'), nullif(g->'public', 'null'), g->>'state',
       (g->>'version')::bigint, 1, (g->>'primer_version')::int, (g->>'sourced')::boolean, nullif(g->'applied', 'null'),
       (g->>'computed_at')::timestamptz,
       CASE WHEN %(stale)s THEN LEAST((g->>'soft_expires_at')::timestamptz, {now}) ELSE (g->>'soft_expires_at')::timestamptz END,
       (g->>'hard_expires_at')::timestamptz,
       CASE WHEN u.unsure THEN coalesce((g->>'invalid_at')::timestamptz, {now}) ELSE (g->>'invalid_at')::timestamptz END, (g->>'read_at')::date
FROM unnest(%(digests)s::uuid[], %(lines)s::text[], %(unsure)s::boolean[]) AS u (digest, line, unsure), LATERAL (SELECT u.line::jsonb) j (g)
ORDER BY u.digest
ON CONFLICT (digest) DO UPDATE SET
    params = EXCLUDED.params, value = EXCLUDED.value, public = EXCLUDED.public, state = EXCLUDED.state,
    version = GREATEST(p.version + 1, EXCLUDED.version), epoch = p.epoch + 1, primer_version = EXCLUDED.primer_version,
    sourced = EXCLUDED.sourced, applied = EXCLUDED.applied, pending_seen = NULL, computed_at = EXCLUDED.computed_at,
    soft_expires_at = EXCLUDED.soft_expires_at, hard_expires_at = EXCLUDED.hard_expires_at, invalid_at = EXCLUDED.invalid_at
WHERE p.state = 'unset' OR p.computed_at < EXCLUDED.computed_at OR %(overwrite)s AND p.computed_at > EXCLUDED.computed_at
RETURNING p.key, p.version
