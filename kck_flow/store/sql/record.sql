-- Append what a product holds from an instant on; the same instant again is a correction: the next revision.
INSERT INTO kck_record (digest, key, key_base, start_at, value, revision, version, primer_version, written_at)
SELECT %(digest)s, %(key)s, %(key_base)s, to_timestamp(%(at)s), %(value)s::jsonb,
       coalesce((SELECT max(revision) FROM kck_record WHERE digest = %(digest)s AND facet = '' AND start_at = to_timestamp(%(at)s)), 0) + 1,
       %(version)s, %(primer_version)s, {now}
RETURNING id
