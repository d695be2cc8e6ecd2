-- The families whose levels are worth nothing until they are counted anew, and which mark says so last.
SELECT g.key_base, g.generation, max(d.id) FROM kck_generation g
JOIN kck_delta d ON d.generation = g.generation AND d.args_digest = '00000000-0000-0000-0000-000000000000'
WHERE g.live AND g.primed_at IS NOT NULL GROUP BY 1, 2
