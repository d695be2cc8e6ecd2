-- In the snapshot of a computation: what it sees, its result contains.
DELETE FROM kck_pending WHERE key_base = %(key_base)s AND digest = %(digest)s AND kind = 'change' RETURNING id, change ->> 'id'
