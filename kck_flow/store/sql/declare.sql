-- An older process in a rolling deploy never puts an older declaration back in force.
INSERT INTO kck_family AS f (key_base, primer_version, schedule_digest, synced_at, paused_at, note)
VALUES (%(key_base)s, %(version)s, %(schedule)s, {now}, CASE WHEN %(paused)s THEN {now} END, CASE WHEN %(paused)s THEN 'autostart is off' ELSE '' END)
ON CONFLICT (key_base) DO UPDATE SET primer_version = EXCLUDED.primer_version, schedule_digest = EXCLUDED.schedule_digest, synced_at = EXCLUDED.synced_at
WHERE f.primer_version <= EXCLUDED.primer_version
