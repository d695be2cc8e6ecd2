-- The last events of a flow.
SELECT id, key_base, args, {subject}::text, source, sink, at, xact, facets, callback_state
FROM {table} WHERE key_base = %(key_base)s ORDER BY at DESC, id DESC LIMIT %(limit)s
