-- The callables of an event were called, and for nothing else was it kept.
DELETE FROM kck_event WHERE id = %(id)s
