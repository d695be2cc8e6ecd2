-- Records of some families (NULL: of all) that begin within [start, end), family by family in the order of their instants; the
-- engine's own ones, whose keys begin with an exclamation mark, are left out. A corrected record is there in its last
-- revision, or in all of them.
SELECT key, key_base, start_at, end_at, facet, facet_value::text, value::text, revision, version, primer_version, complete, written_at, id
FROM kck_record r
WHERE (%(key_bases)s::text[] IS NULL OR key_base = ANY(%(key_bases)s)) AND NOT starts_with(key, '!')
  AND (%(digests)s::uuid[] IS NULL OR digest = ANY(%(digests)s))
  AND start_at >= coalesce(%(start)s::timestamptz, '-infinity') AND start_at < coalesce(%(end)s::timestamptz, 'infinity')
  AND (%(after_base)s::text IS NULL OR (key_base, start_at, id) > (%(after_base)s, %(after_start)s::timestamptz, %(after_id)s::bigint))
  AND (%(revisions)s OR NOT EXISTS (
      SELECT FROM kck_record l WHERE l.digest = r.digest AND l.facet = r.facet AND l.facet_digest = r.facet_digest
         AND l.start_at = r.start_at AND l.revision > r.revision))
ORDER BY key_base, start_at, id LIMIT %(limit)s
