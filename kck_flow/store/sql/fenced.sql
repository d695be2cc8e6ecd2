-- The fences whose lease may be over, locked: whether it is, a statement with a later snapshot must tell.
SELECT generation, token, key_base FROM kck_generation WHERE token IS NOT NULL ORDER BY generation FOR UPDATE SKIP LOCKED
