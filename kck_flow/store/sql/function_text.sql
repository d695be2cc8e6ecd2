-- A text as a key or facet value has it: of a long one a digest and the beginning. A capture may never fail a write, and
-- an index takes 2,704 bytes.
CREATE OR REPLACE FUNCTION kck_text(given text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$
SELECT CASE WHEN octet_length(given) > 1000 THEN left(given, 100) || '#' || md5(given) ELSE given END
$body$
