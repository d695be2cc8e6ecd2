-- The frames of a family, with their slots, oldest first.
SELECT f.key, f.start_at, f.end_at,
       CASE WHEN f.state = 'planned' AND r.parked_at IS NOT NULL THEN 'parked'
            WHEN f.state = 'planned' AND r.attempts > 0 THEN 'failed'
            WHEN r.lease_until > {now} THEN 'computing' ELSE f.state END,
       f.reason, f.items, f.late, f.revision, f.complete, f.want > f.have AND f.state = 'closed', f.primer_version, f.planned_at,
       f.closed_at, f.cleaned_at, f.compute_ms, f.cleanup_ms, f.cleanup_error, coalesce(r.attempts, 0), coalesce(r.last_error, ''),
       coalesce(r.parked_why, '')
FROM kck_frame f LEFT JOIN kck_refresh r ON r.digest = f.digest
WHERE f.key_base = %(key_base)s AND f.start_at < %(end)s AND f.end_at > %(start)s AND f.args @> %(args)s::jsonb
  AND (%(state)s = '' OR f.state = %(state)s AND %(state)s <> 'failed'
       OR %(state)s = 'failed' AND f.state <> 'skipped' AND coalesce(r.attempts, 0) > 0)
ORDER BY f.start_at DESC, f.end_at DESC, f.key DESC
LIMIT %(limit)s
