-- What products held at the beginning of a period. Once: whoever comes second changes nothing.
INSERT INTO kck_record (digest, key, key_base, start_at, end_at, value, primer_version, generation, written_at)
SELECT u.digest, u.key, %(key_base)s, %(start)s, %(end)s, u.value, %(primer_version)s, %(generation)s, to_timestamp(%(at)s)
FROM unnest(%(digests)s::uuid[], %(keys)s::text[], %(values)s::jsonb[]) AS u (digest, key, value)
ON CONFLICT (digest, facet, facet_digest, start_at, revision) DO NOTHING
RETURNING id, digest
