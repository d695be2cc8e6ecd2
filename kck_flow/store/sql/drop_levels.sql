-- A family's levels go, to make room for what was counted anew.
DELETE FROM kck_level WHERE generation = %(generation)s
