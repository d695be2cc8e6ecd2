-- Append what a frame holds now as its next revision; where that is what the last one held, nothing is appended.
WITH last AS (
    SELECT id, revision, value, complete FROM kck_record
    WHERE digest = %(digest)s AND facet = '' AND start_at = %(start)s ORDER BY revision DESC LIMIT 1
), new AS (
    INSERT INTO kck_record (digest, key, key_base, start_at, end_at, value, revision, version, primer_version, complete, written_at)
    SELECT %(digest)s, %(key)s, %(key_base)s, %(start)s, %(end)s, %(value)s::jsonb, coalesce((SELECT revision FROM last), 0) + 1,
           coalesce((SELECT revision FROM last), 0) + 1, %(primer_version)s, %(complete)s, {now}
    WHERE NOT EXISTS (SELECT 1 FROM last WHERE last.value IS NOT DISTINCT FROM %(value)s::jsonb AND last.complete = %(complete)s)
    RETURNING id, revision
)
SELECT id, revision, true FROM new UNION ALL SELECT id, revision, false FROM last WHERE NOT EXISTS (SELECT 1 FROM new)
