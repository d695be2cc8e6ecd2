-- An event whose callables failed is left to a slot of its own: the others go on.
UPDATE {table} SET callback_state = 'failed', called = %(called)s::jsonb WHERE id = %(id)s
