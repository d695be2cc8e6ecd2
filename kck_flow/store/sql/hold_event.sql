-- One event is held while its callables are called, so that they are not called twice at once. SKIP LOCKED: whoever looks
-- at it calls them.
SELECT subject_id, source, sink, called FROM kck_event
WHERE id = %(id)s AND callback_state IN ('due', 'failed') FOR UPDATE SKIP LOCKED
