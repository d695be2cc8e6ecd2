-- Exactly the rows that were applied: a range of ids would also take those that committed meanwhile.
DELETE FROM kck_pending WHERE id = ANY(%(ids)s) RETURNING id
