-- A frame whose source has been deleted: it is skipped, or keeps the value that it has.
UPDATE kck_frame f SET
    state = CASE WHEN {held} THEN 'closed' ELSE 'skipped' END,
    reason = CASE WHEN {held} THEN reason ELSE %(reason)s END,
    have = %(want)s, token = NULL
WHERE digest = %(digest)s AND token = %(fence)s
RETURNING state
