-- The callables of an event were called.
UPDATE {table} SET callback_state = 'done', called = NULL WHERE id = %(id)s
