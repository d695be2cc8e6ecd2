-- Whatever is on its way to a product: its own marks and changes, and the marks of its family that mean it, too.
SELECT id FROM kck_pending
WHERE key_base = %(key_base)s AND (digest = %(digest)s OR digest IS NULL AND (args IS NULL OR %(args)s::jsonb @> args))
