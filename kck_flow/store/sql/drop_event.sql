-- The callables of an event were called, and for nothing else was it kept.
DELETE FROM {table} WHERE id = %(id)s
