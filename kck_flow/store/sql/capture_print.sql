-- What captures a table now: of the table and each of its partitions, which triggers fire which functions, and since
-- when. A trigger that was switched off and on again has another xmin, and may have missed something between.
WITH parts AS (
    SELECT relid::oid AS relid FROM pg_partition_tree(to_regclass(%(relation)s)) UNION SELECT to_regclass(%(relation)s)::oid
)
SELECT md5(coalesce(string_agg(concat_ws(' ', t.tgrelid, t.tgname, t.tgenabled, t.xmin, p.proname, md5(p.prosrc),
           pg_get_triggerdef(t.oid)), '|' ORDER BY t.tgrelid, t.tgname), 'nothing')
       || ' of ' || (SELECT string_agg(relid::text, ' ' ORDER BY relid) FROM parts))
FROM parts
LEFT JOIN pg_trigger t ON t.tgrelid = parts.relid AND t.tgname LIKE 'kck\_capture\_%%'
LEFT JOIN pg_proc p ON p.oid = t.tgfoid
