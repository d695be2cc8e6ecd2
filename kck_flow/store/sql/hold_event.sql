-- One event is held while its callables are called, so that they are not called twice at once. In passing with SKIP LOCKED,
-- for whoever looks at it calls them; the slot of its own waits, for it may be left to that very slot just now.
SELECT {subject}::text, source, sink, called FROM {table}
WHERE id = %(id)s AND callback_state IN ('due', 'failed') FOR UPDATE {busy}
