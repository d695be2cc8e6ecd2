-- The common case, where no mark is there at all (calm.sql): the other's plan takes as long to begin as all the rest.
WITH contained AS (SELECT NULL::bigint AS id WHERE false), moved AS (SELECT false AS stale, false AS wanted)
