-- A definition is put in force; one that was in force before is so again.
-- A flow has nothing to be counted from: what its triggers tell from now on is all.
INSERT INTO kck_generation AS g (generation, key_base, relation, definition, live, made_at, primed_at)
VALUES (%(generation)s, %(key_base)s, %(relation)s, %(definition)s::jsonb, true, {now}, CASE WHEN %(flow)s THEN {now} END)
ON CONFLICT (generation) DO UPDATE SET live = true, made_at = EXCLUDED.made_at, primed_at = EXCLUDED.primed_at,
    captured = '', whole_at = NULL, history_at = NULL WHERE NOT g.live
RETURNING generation
