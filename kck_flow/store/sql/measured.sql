-- What some metrics were in each period that begins within [start, end): the current revisions. By the index of what a record
-- is identified by, one product at a time.
SELECT w.place, extract(epoch FROM r.start_at)::float8, extract(epoch FROM r.end_at)::float8, r.value, r.complete, r.primer_version,
       r.revision
FROM unnest(%(digests)s::uuid[]) WITH ORDINALITY AS w (digest, place) CROSS JOIN LATERAL (
    SELECT DISTINCT ON (k.start_at, k.end_at) k.start_at, k.end_at, k.value, k.complete, k.primer_version, k.revision FROM kck_record k
    WHERE k.digest = w.digest AND k.facet = '' AND k.facet_digest = '00000000-0000-0000-0000-000000000000'
      AND k.start_at >= %(start)s AND k.start_at < %(end)s
    ORDER BY k.start_at, k.end_at, k.revision DESC
) r ORDER BY w.place, r.start_at
