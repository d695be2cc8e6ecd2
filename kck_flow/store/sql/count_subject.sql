-- Of one row: how many events may lose its name, and how many have functions that are still to be called with it.
SELECT count(*) FILTER (WHERE callback_state NOT IN ('due', 'failed')), count(*) FILTER (WHERE callback_state IN ('due', 'failed'))
FROM {table} WHERE {whose} AND {subject}::text = %(pk)s
