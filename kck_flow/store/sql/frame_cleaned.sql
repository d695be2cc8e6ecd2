-- What came of a frame's cleanup.
UPDATE kck_frame SET
    cleaned_at = CASE WHEN %(error)s = '' THEN {now} ELSE cleaned_at END, cleanup_ms = %(cleanup_ms)s, cleanup_error = %(error)s
WHERE digest = %(digest)s
