-- A first computation that has begun meanwhile has a slot, and then nothing is deleted here.
DELETE FROM kck_pending WHERE key_base = %(key_base)s AND digest = %(digest)s AND kind = 'change'
  AND NOT EXISTS (SELECT 1 FROM kck_refresh r WHERE r.digest = %(digest)s) AND NOT EXISTS (SELECT 1 FROM kck_product p WHERE p.digest = %(digest)s)
RETURNING id
