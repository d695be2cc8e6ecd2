-- The marks of a whole family, or of those of its products that have these parameters.
SELECT id FROM kck_pending WHERE key_base = %(key_base)s AND digest IS NULL AND (args IS NULL OR %(args)s::jsonb @> args)
