-- Frames as they stand, each with its current record: a record that somebody deleted is not there.
SELECT f.digest, f.key, f.state, f.reason, f.want, f.have, f.revision, f.primer_version, f.items, f.late, f.complete,
       f.start_at, f.end_at, f.closed_at, f.cleaned_at, f.cleanup_error, r.id, r.value::text, r.written_at, {now}
FROM kck_frame f
LEFT JOIN kck_record r ON r.digest = f.digest AND r.facet = '' AND r.start_at = f.start_at AND r.revision = f.revision
WHERE f.digest = ANY(%(digests)s)
