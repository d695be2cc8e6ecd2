-- A definition that its table no longer fits is out of force at once: a trigger made from it would fail every write.
UPDATE kck_generation SET live = false, primed_at = NULL WHERE generation = %(generation)s RETURNING generation
