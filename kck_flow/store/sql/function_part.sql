-- A text as one part of a key, spelled as key.escape does: %, / and control characters as RFC 3986 escapes.
CREATE OR REPLACE FUNCTION kck_part(given text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$
SELECT CASE WHEN given COLLATE "C" ~ '[%/\x01-\x1f\x7f]' THEN (
    SELECT string_agg(CASE WHEN c COLLATE "C" ~ '[%/\x01-\x1f\x7f]' THEN '%' || lpad(upper(to_hex(ascii(c))), 2, '0') ELSE c END, '' ORDER BY n)
    FROM unnest(string_to_array(given, NULL)) WITH ORDINALITY AS s (c, n)
) ELSE given END
$body$
