-- What some metrics were in each period that begins within [start, end), the current revisions, of those of which something else is
-- recorded than is known; and of all what is recorded, in a few numbers: a record is never changed, so where none was added and
-- none taken away they are the same. Those of which nothing else is recorded take a quarter of the time. The instant tells
-- databases apart that count their records alike: those of tenants, or of tests. By the index of what a record is identified
-- by, one product at a time.
SELECT w.place, g.signature, extract(epoch FROM r.start_at)::float8, extract(epoch FROM r.end_at)::float8, r.value, r.complete,
       r.primer_version, r.revision
FROM unnest(%(digests)s::uuid[], %(known)s::text[]) WITH ORDINALITY AS w (digest, known, place)
CROSS JOIN LATERAL (
    SELECT concat_ws(' ', count(*), max(k.id), sum(k.id), extract(epoch FROM max(k.written_at))) AS signature FROM kck_record k
    WHERE k.digest = w.digest AND k.facet = '' AND k.facet_digest = '00000000-0000-0000-0000-000000000000'
      AND k.start_at >= %(start)s AND k.start_at < %(end)s
) g LEFT JOIN LATERAL (
    SELECT DISTINCT ON (k.start_at, k.end_at) k.start_at, k.end_at, k.value, k.complete, k.primer_version, k.revision FROM kck_record k
    WHERE g.signature IS DISTINCT FROM w.known
      AND k.digest = w.digest AND k.facet = '' AND k.facet_digest = '00000000-0000-0000-0000-000000000000'
      AND k.start_at >= %(start)s AND k.start_at < %(end)s
    ORDER BY k.start_at, k.end_at, k.revision DESC
) r ON true ORDER BY w.place, r.start_at
