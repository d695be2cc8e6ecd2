-- The metrics that are stored as rows, all or one, in the order of their sections and positions.
SELECT id, slug, type, properties::text, label, description, section, unit, unit_plural, number_format, precision, good, goal, period, tz,
       rollup, position, paused
FROM kck_metric {where} ORDER BY section, position, slug
