-- The account of what is folded begins anew: a recount that died may have left its own.
UPDATE kck_level SET since_n = NULL, since_amount = NULL WHERE generation = %(generation)s AND since_n IS NOT NULL
