-- The identity of a normal form: 128 bits of its text's sha256.
CREATE OR REPLACE FUNCTION kck_digest(given jsonb) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$
SELECT encode(substring(sha256(convert_to(given::text, 'UTF8')) FOR 16), 'hex')::uuid
$body$
