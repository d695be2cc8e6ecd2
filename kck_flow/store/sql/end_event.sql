-- The callables of an event were called.
UPDATE kck_event SET callback_state = 'done', called = NULL WHERE id = %(id)s
