-- A definition is put in force; one that was in force before is so again.
INSERT INTO kck_generation AS g (generation, key_base, relation, definition, live, made_at)
VALUES (%(generation)s, %(key_base)s, %(relation)s, %(definition)s::jsonb, true, {now})
ON CONFLICT (generation) DO UPDATE SET live = true, made_at = EXCLUDED.made_at, primed_at = NULL WHERE NOT g.live
RETURNING generation
