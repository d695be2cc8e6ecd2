-- Definitions that nobody declares any more, and those that have had a successor for a day: until then, processes with
-- the code of yesterday read theirs.
UPDATE kck_generation g SET live = false, primed_at = NULL
WHERE g.live AND g.generation <> ALL(%(declared)s::bigint[])
  AND (g.key_base <> ALL(%(bases)s::text[])
       OR EXISTS (SELECT 1 FROM kck_generation n WHERE n.key_base = g.key_base AND n.live AND n.generation = ANY(%(declared)s::bigint[])
                  AND n.made_at < {now} - interval '1 day'))
RETURNING g.generation
