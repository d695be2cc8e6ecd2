-- A paused family is not refreshed by clock or change; reads and `refresh --force` still compute it.
INSERT INTO kck_family AS f (key_base, paused_at, note) VALUES (%(key_base)s, {now}, %(note)s)
ON CONFLICT (key_base) DO UPDATE SET paused_at = coalesce(f.paused_at, EXCLUDED.paused_at), note = EXCLUDED.note
