-- A computation that lost its lease has come to its end all the same: its process did not end without a word.
WITH told AS (
    DELETE FROM kck_run WHERE digest = (SELECT digest FROM kck_refresh WHERE id = %(slot)s) AND token = %(token)s AND outcome = 'lost'
)
UPDATE kck_refresh SET crashes = crashes - 1 WHERE id = %(slot)s AND token > %(token)s AND crashes > 0 RETURNING id
