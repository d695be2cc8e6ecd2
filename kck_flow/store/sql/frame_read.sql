-- Frames as they stand, each with its current record: a record that somebody deleted is not there. What a family was told
-- in a transaction, the caller's own or one that has committed, may wait to be done.
SELECT f.digest, f.key, f.state, f.reason, f.want, f.have, f.revision, f.primer_version, f.items, f.late, f.complete,
       f.start_at, f.end_at, f.closed_at, f.cleaned_at, f.cleanup_error, r.id, r.value::text, r.written_at, {now},
       EXISTS (SELECT 1 FROM kck_pending q WHERE q.key_base = f.key_base AND (q.digest = f.digest OR q.digest IS NULL
               AND q.kind = 'told' AND NOT (q.args ->> 'counted')::boolean
               AND (q.args ->> 'start')::timestamptz < f.end_at AND (q.args ->> 'end')::timestamptz > f.start_at
               AND q.args -> 'sizes' @> coalesce(f.args -> 'size', '""') AND f.args @> (q.args -> 'args')))
FROM kck_frame f
LEFT JOIN kck_record r ON r.digest = f.digest AND r.facet = '' AND r.start_at = f.start_at AND r.revision = f.revision
WHERE f.digest = ANY(%(digests)s)
