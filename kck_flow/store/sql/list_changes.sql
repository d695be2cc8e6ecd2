-- The changes that wait for one product, in the order in which they were appended.
SELECT id, change, source FROM kck_pending WHERE key_base = %(key_base)s AND digest = %(digest)s AND kind = 'change' ORDER BY id LIMIT %(limit)s
