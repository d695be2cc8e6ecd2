-- How a counted family stands, in short: equal levels have equal sums.
SELECT g.primed_at IS NOT NULL, EXISTS (SELECT 1 FROM kck_delta d WHERE d.generation = g.generation),
       (SELECT coalesce(sum(hashtextextended(concat_ws('|', l.args_digest, l.facet, l.value_digest, l.start_at AT TIME ZONE 'UTC', l.n, trim_scale(l.amount)), 0)::numeric), 0)::text
        FROM kck_level l WHERE l.generation = g.generation AND l.n <> 0)
FROM kck_generation g WHERE g.generation = %(generation)s
