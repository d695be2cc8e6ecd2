-- Of windows of one length, the first that is neither closed nor skipped: in [first, last] begins one each {step}.
SELECT w.start_at FROM generate_series(%(first)s::timestamptz, %(last)s::timestamptz, %(step)s * interval '1 second') AS w (start_at)
WHERE NOT EXISTS (SELECT 1 FROM kck_frame f WHERE f.series = %(series)s AND f.start_at = w.start_at AND f.state <> 'planned')
ORDER BY w.start_at LIMIT 1
