-- How the transitions of a flow are kept as events: by the definition that was declared last, and by no other of its
-- family, or each would be told twice.
UPDATE kck_generation g SET events = CASE WHEN g.generation = %(generation)s THEN %(events)s::jsonb END
WHERE g.key_base = %(key_base)s AND g.events IS DISTINCT FROM CASE WHEN g.generation = %(generation)s THEN %(events)s::jsonb END
RETURNING g.generation
