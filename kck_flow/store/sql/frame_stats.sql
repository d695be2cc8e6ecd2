-- What the frames of a family took, over a range, by size.
SELECT coalesce(f.args ->> 'size', ''), count(*), sum(f.items), avg(f.compute_ms), max(f.compute_ms), avg(f.cleanup_ms),
       sum(f.late), count(*) FILTER (WHERE f.revision > 1), count(*) FILTER (WHERE NOT f.complete), min(f.start_at), max(f.end_at)
FROM kck_frame f
WHERE f.key_base = %(key_base)s AND f.state = 'closed' AND f.start_at < %(end)s AND f.end_at > %(start)s
GROUP BY 1 ORDER BY min(f.end_at - f.start_at)
