-- About how many rows a table and its partitions have, as far as it was analysed.
SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint FROM (
    SELECT relid FROM pg_partition_tree(to_regclass(%(relation)s)) UNION SELECT to_regclass(%(relation)s)
) p JOIN pg_class c ON c.oid = p.relid
