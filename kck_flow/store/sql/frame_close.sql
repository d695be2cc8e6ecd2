-- Close a frame under the token that it was taken in hand with. No row back: it is in other hands.
UPDATE kck_frame SET
    state = 'closed', reason = '', have = %(want)s, token = NULL, revision = %(revision)s, primer_version = %(primer_version)s,
    items = %(items)s, complete = %(complete)s, closed_at = {now}, compute_ms = %(compute_ms)s,
    cleaned_at = CASE WHEN %(clean)s THEN {now} WHEN %(changed)s THEN NULL ELSE cleaned_at END, cleanup_error = ''
WHERE digest = %(digest)s AND token = %(fence)s
RETURNING want
