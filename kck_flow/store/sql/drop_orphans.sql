-- Deltas of definitions that no database knows (yesterday's code, or tomorrow's before its migrate): nobody folds them, and
-- a count to come sees their causes.
DELETE FROM kck_delta d WHERE NOT EXISTS (SELECT 1 FROM kck_generation g WHERE g.generation = d.generation)
