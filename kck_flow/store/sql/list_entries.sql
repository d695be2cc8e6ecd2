-- Products beside their slots for people, by key, a page at a time from the last key seen. One that was never computed
-- has only a slot, one that was set by hand only a value: hence the full join ({source}). The value comes along where it
-- is short enough to be shown (the second test is for what compresses well).
SELECT coalesce(p.key, r.key), coalesce(p.key_base, r.key_base), coalesce(p.state, 'unset'), coalesce(p.version, 0), coalesce(p.primer_version, 1),
       extract(epoch FROM p.computed_at)::float8, extract(epoch FROM p.soft_expires_at)::float8, extract(epoch FROM p.hard_expires_at)::float8,
       extract(epoch FROM p.invalid_at)::float8,
       CASE WHEN p.state = 'value' AND pg_column_size(p.value) <= 400 AND octet_length(p.value::text) <= 2000 THEN p.value::text END, pg_column_size(p.value),
       coalesce((SELECT max(CASE q.kind WHEN 'stale' THEN 2 WHEN 'refresh' THEN 1 ELSE 0 END) FROM kck_pending q
         WHERE q.key_base = p.key_base AND (q.digest = p.digest OR q.digest IS NULL AND (q.args IS NULL OR p.params @> q.args))
           AND NOT coalesce(p.pending_seen @> to_jsonb(q.id), false)), 0)::int,
       (SELECT count(*) FROM kck_pending q WHERE q.key_base = p.key_base AND q.digest = p.digest AND q.kind = 'change')::int,
       coalesce(r.lease_until > {now}, false), coalesce(r.attempts, 0), extract(epoch FROM r.retry_at)::float8,
       extract(epoch FROM r.due_at)::float8, extract(epoch FROM r.parked_at)::float8, coalesce(r.last_error, ''), coalesce(r.want > r.have, false),
       extract(epoch FROM r.nominal)::float8, extract(epoch FROM {now})::float8
FROM {source}
WHERE coalesce(p.key, r.key) > %(after)s
  AND starts_with(coalesce(p.key, r.key), %(prefix)s)
  AND (%(key_base)s::text IS NULL OR coalesce(p.key_base, r.key_base) = %(key_base)s)
  AND (%(hidden)s OR NOT starts_with(coalesce(p.key, r.key), '!')
       AND (p.state <> 'unset' OR r.due_at IS NOT NULL OR r.parked_at IS NOT NULL OR r.attempts > 0 OR r.lease_until > {now}))
ORDER BY 1 LIMIT %(limit)s
