-- A computation that lost its lease has come to its end all the same: its process did not end without a word.
UPDATE kck_refresh SET crashes = crashes - 1 WHERE id = %(slot)s AND token > %(token)s AND crashes > 0 RETURNING id
