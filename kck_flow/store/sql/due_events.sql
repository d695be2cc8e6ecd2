-- The events of a flow whose callables have to be called, in the order in which they were appended: of one row, that in
-- which it moved.
SELECT id FROM {table} WHERE key_base = %(key_base)s AND callback_state = 'due' ORDER BY id LIMIT %(limit)s
