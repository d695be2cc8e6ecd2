-- What long recounts of a family have found, this one and those that died.
DELETE FROM kck_recounted WHERE generation = %(generation)s
