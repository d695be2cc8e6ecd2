-- Keys that somebody may have meant.
SELECT key FROM kck_product WHERE state <> 'unset' AND NOT starts_with(key, '!') AND (%(key_base)s::text IS NULL OR key_base = %(key_base)s)
ORDER BY key LIMIT %(limit)s
