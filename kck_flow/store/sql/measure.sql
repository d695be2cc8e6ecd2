-- Append what a metric is in a period as the next revision; where that is what the last one says, nothing is appended. Two at
-- once: the second finds the first's revision taken, and leaves it.
-- A period is its beginning and its end: where a metric was one of days and is one of weeks, a Monday is both.
WITH last AS (
    SELECT id, revision, value, complete FROM kck_record
    WHERE digest = %(digest)s AND facet = '' AND start_at = %(start)s AND end_at = %(end)s ORDER BY revision DESC LIMIT 1
)
INSERT INTO kck_record (digest, key, key_base, start_at, end_at, value, revision, version, primer_version, complete, written_at)
SELECT %(digest)s, %(key)s, %(key_base)s, %(start)s, %(end)s, %(value)s::jsonb, coalesce((SELECT max(revision) FROM kck_record WHERE digest = %(digest)s AND facet = '' AND start_at = %(start)s), 0) + 1,
       %(version)s, %(primer_version)s, %(complete)s, {now}
WHERE NOT EXISTS (SELECT 1 FROM last WHERE last.value IS NOT DISTINCT FROM %(value)s::jsonb AND last.complete = %(complete)s)
ON CONFLICT DO NOTHING
RETURNING id
