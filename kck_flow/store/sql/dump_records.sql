-- Records as lines of JSON, in the order in which they were written.
SELECT jsonb_build_object('t', 'record', 'key', key, 'key_base', key_base, 'start_at', start_at, 'end_at', end_at, 'value', value,
    'facet', facet, 'facet_value', facet_value, 'facet_digest', facet_digest, 'revision', revision, 'version', version,
    'primer_version', primer_version, 'generation', generation, 'complete', complete, 'written_at', written_at)::text, id
FROM kck_record WHERE id > %(after)s AND (%(key_bases)s::text[] IS NULL OR key_base = ANY(%(key_bases)s)) ORDER BY id LIMIT %(limit)s
