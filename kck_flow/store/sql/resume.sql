-- The row stays: that it was resumed is what `autostart = False` must remember.
UPDATE kck_family SET paused_at = NULL, note = '' WHERE key_base = %(key_base)s AND paused_at IS NOT NULL RETURNING key_base
