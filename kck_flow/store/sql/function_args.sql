-- The one normal form of parameters and facet values: 1.0 and 1.00 are one number, a long text is its digest. jsonb sorts
-- the names of an object itself.
CREATE OR REPLACE FUNCTION kck_args(given jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$
SELECT coalesce(jsonb_object_agg(name, CASE jsonb_typeof(value)
    WHEN 'number' THEN to_jsonb(trim_scale((value #>> '{}')::numeric))
    WHEN 'string' THEN to_jsonb(kck_text(value #>> '{}'))
    ELSE value END), '{}')
FROM jsonb_each(given) AS each (name, value)
$body$
