-- When transitions of flows were missed, the oldest first; of those that are in force, and since they are.
SELECT g.key_base, extract(epoch FROM p.start_at)::float8, extract(epoch FROM p.end_at)::float8, p.cause
FROM kck_gap p JOIN kck_generation g ON g.generation = p.generation
WHERE g.live AND coalesce(p.end_at, 'infinity') > least(g.made_at, g.history_at)
  AND (%(generations)s::bigint[] IS NULL OR g.generation = ANY(%(generations)s::bigint[]))
ORDER BY p.start_at, p.id
