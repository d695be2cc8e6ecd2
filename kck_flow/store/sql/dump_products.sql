-- Products as lines of JSON, by digest. What is on its way to one does not travel: with a change that makes it
-- unservable, or one still to be folded in, it is carried as invalidated; with one that wants a refresh, as stale.
SELECT jsonb_build_object('t', 'product', 'key', p.key, 'key_base', p.key_base, 'params', p.params, 'value', p.value,
    'public', p.public, 'state', p.state, 'version', p.version, 'primer_version', p.primer_version, 'sourced', p.sourced,
    'applied', p.applied, 'computed_at', p.computed_at, 'hard_expires_at', p.hard_expires_at, 'read_at', p.read_at,
    'soft_expires_at', CASE WHEN w.wanted THEN LEAST(p.soft_expires_at, {now}) ELSE p.soft_expires_at END,
    'invalid_at', CASE WHEN w.stale THEN coalesce(p.invalid_at, {now}) ELSE p.invalid_at END)::text, p.digest
FROM kck_product p LEFT JOIN LATERAL (
    SELECT bool_or(q.kind <> 'refresh') AS stale, bool_or(q.kind = 'refresh') AS wanted FROM kck_pending q
    WHERE q.key_base = p.key_base AND (q.digest = p.digest OR q.digest IS NULL AND (q.args IS NULL OR p.params @> q.args))
      AND NOT coalesce(p.pending_seen @> to_jsonb(q.id), false)) w ON true
WHERE p.digest > %(after)s AND p.state <> 'unset' AND NOT starts_with(p.key, '!')
  AND (%(key_bases)s::text[] IS NULL OR p.key_base = ANY(%(key_bases)s))
ORDER BY p.digest LIMIT %(limit)s
