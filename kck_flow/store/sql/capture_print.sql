-- What captures a definition now, as a digest: of its table and each of its partitions, which triggers fire which functions,
-- and since when. A trigger that was switched off and on again has another xmin, and may have missed something between.
-- And where: fresh clusters that were migrated alike number everything alike, and what one of them holds may be restored into
-- another.
-- What Python sees no trigger captures: there is nothing to look at.
-- Empty where something is missing: a trigger, its being always on, or the definition's place in its function; where a
-- subscription writes to the table, whose rows fire triggers of rows only; and where its functions serve a partition that was
-- detached, too, whose rows are none of its own.
WITH parts AS (
    SELECT relid::oid AS relid FROM pg_partition_tree(to_regclass(%(relation)s)) UNION SELECT to_regclass(%(relation)s)::oid
), there AS (
    SELECT p.relid, t.tgname, t.tgenabled, t.xmin, t.oid, t.tgfoid, f.proname, f.prosrc
    FROM parts p JOIN pg_trigger t ON t.tgrelid = p.relid AND t.tgname LIKE 'kck\_capture\_%%' JOIN pg_proc f ON f.oid = t.tgfoid
), place AS (
    SELECT concat_ws(' ', (SELECT oid FROM pg_database WHERE datname = current_database()),
                     CASE WHEN has_function_privilege('pg_control_system()', 'EXECUTE')
                          THEN (SELECT system_identifier FROM pg_control_system()) END) AS place
)
SELECT CASE WHEN EXISTS (SELECT 1 FROM kck_generation WHERE generation = %(generation)s AND live AND definition ->> 'capture' = 'signals')
    THEN md5(concat_ws(' ', (SELECT place FROM place), 'signals'))
    WHEN count(*) FILTER (WHERE tgenabled = 'A' AND (%(flow)s AND tgname = 'kck_capture_truncate'
                                  OR position(%(generation)s::text IN prosrc) > 0)) = 4 * (SELECT count(*) FROM parts)
    AND NOT EXISTS (SELECT FROM pg_subscription_rel WHERE srrelid IN (SELECT relid FROM parts))
    AND CASE (SELECT relkind FROM pg_class WHERE oid = to_regclass(%(relation)s)) WHEN 'p' THEN
        NOT EXISTS (SELECT FROM pg_depend d JOIN pg_trigger o ON o.oid = d.objid
                    WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid IN (SELECT tgfoid FROM there)
                      AND d.classid = 'pg_trigger'::regclass AND o.tgrelid NOT IN (SELECT relid FROM parts))
        ELSE true END
    THEN md5(concat_ws(' ', (SELECT place FROM place),
             string_agg(concat_ws(' ', relid, tgname, xmin, proname, md5(prosrc), pg_get_triggerdef(oid)), '|' ORDER BY relid, tgname)))
    ELSE '' END
FROM there
