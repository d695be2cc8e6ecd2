-- Keys of what is stored, set by hand or wanted, a page at a time from the last key seen, in the order of their bytes, as Python
-- has it. Each word that is asked for is in a key, or its family is one of those whose label has it.
WITH asked AS (
    SELECT w.value ->> 0 AS pattern, ARRAY(SELECT jsonb_array_elements_text(w.value -> 1)) AS bases
    FROM jsonb_array_elements(%(words)s::jsonb) w
), there AS (
    SELECT key, key_base FROM kck_product WHERE state <> 'unset'
    UNION
    SELECT key, key_base FROM kck_refresh
    WHERE due_at IS NOT NULL OR parked_at IS NOT NULL OR attempts > 0 OR lease_until > {now}
)
SELECT key, key_base FROM there
WHERE key COLLATE "C" > %(after)s AND NOT starts_with(key, '!') AND key_base <> ALL(%(without)s::text[])
  AND NOT EXISTS (SELECT FROM asked WHERE NOT (strpos(lower(key), pattern) > 0 OR key_base = ANY(bases)))
ORDER BY key COLLATE "C" LIMIT %(limit)s
