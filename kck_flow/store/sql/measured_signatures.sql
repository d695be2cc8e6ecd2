-- What is recorded of some metrics in the periods that begin within [start, end), in a few numbers each: a record is never
-- changed, so where none was added and none taken away they are the same. It takes a quarter of the time that reading them does.
-- The instant tells databases apart that count their records alike: those of tenants, or of tests.
SELECT w.place, r.records, r.newest, r.together, r.written
FROM unnest(%(digests)s::uuid[]) WITH ORDINALITY AS w (digest, place) CROSS JOIN LATERAL (
    SELECT count(*) AS records, max(k.id) AS newest, sum(k.id)::text AS together,
        extract(epoch FROM max(k.written_at))::float8 AS written FROM kck_record k
    WHERE k.digest = w.digest AND k.facet = '' AND k.facet_digest = '00000000-0000-0000-0000-000000000000'
      AND k.start_at >= %(start)s AND k.start_at < %(end)s
) r WHERE r.records > 0
