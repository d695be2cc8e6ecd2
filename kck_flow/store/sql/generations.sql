-- The definitions in force.
SELECT generation, key_base, relation, definition, captured, events FROM kck_generation WHERE live ORDER BY generation
