-- What captures each flow now ({print}: capture_print.sql), beside what did when it was last seen whole.
SELECT f.generation, f.key_base, f.captured, f.whole_at IS NOT NULL,
       EXISTS (SELECT 1 FROM kck_gap o WHERE o.generation = f.generation AND o.end_at IS NULL), p.print
FROM kck_generation f CROSS JOIN LATERAL ({print}) AS p (print)
WHERE f.live AND f.definition ->> 'kind' = 'flow' AND f.definition ->> 'capture' IS DISTINCT FROM 'signals'
  AND (%(generations)s::bigint[] IS NULL OR f.generation = ANY(%(generations)s::bigint[]))
ORDER BY f.generation
