-- How many finer frames of each window are closed or skipped.
SELECT u.start_at, (SELECT count(*) FROM kck_frame f WHERE f.series = %(series)s AND f.start_at >= u.start_at AND f.start_at < u.end_at
                    AND f.end_at <= u.end_at AND f.state <> 'planned')
FROM unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS u (start_at, end_at)
