-- A book begins, or begins anew where a flow has come that its opening does not know, or that was out of force since. One
-- whose flows are fewer is left as it is: other processes, with the code of yesterday or tomorrow, share it.
INSERT INTO kck_book AS b (generation, key_base, flows, opened_at)
VALUES (%(generation)s, %(key_base)s, %(flows)s::jsonb, {now})
ON CONFLICT (generation) DO UPDATE SET flows = EXCLUDED.flows, opened_at = EXCLUDED.opened_at, corrected_at = NULL
WHERE NOT b.flows @> EXCLUDED.flows OR b.opened_at < (
    SELECT max(g.made_at) FROM kck_generation g
    WHERE g.generation = EXCLUDED.generation OR EXCLUDED.flows @> to_jsonb(g.generation))
RETURNING b.generation
