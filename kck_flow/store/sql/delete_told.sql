-- Changes that were applied, by their own ids: what was delivered twice and waits further back goes with the first.
DELETE FROM kck_pending WHERE key_base = %(key_base)s AND digest = %(digest)s AND kind = 'change' AND change ->> 'id' = ANY(%(ids)s::text[])
