-- Rows that are in more than one stock of a process: {rows} is a query of (identity, in how many).
SELECT count(*) OVER (), r.identity FROM ({rows}) r WHERE r.times > 1 ORDER BY r.identity LIMIT %(limit)s
