-- A lease on a family begins: from here on no fold touches it. Tokens only rise, so a claimant that was held up between
-- its claim and this takes nothing from its successor.
UPDATE kck_generation SET token = %(token)s, phase = 'lease'
WHERE generation = %(generation)s AND (token IS NULL OR token < %(token)s) RETURNING generation
