-- What an earlier try under the same lease found, and could not publish: it would be added to what this one finds.
DELETE FROM kck_recounted WHERE generation = %(generation)s AND token = %(token)s
