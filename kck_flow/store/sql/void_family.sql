-- What a family holds is worth nothing from this transaction on: said beside the writer's work, without a lock.
INSERT INTO kck_delta (generation, args_digest, args, facet, facet_value, at, n, kind)
SELECT g.generation, '00000000-0000-0000-0000-000000000000', '{}', 0, 'null', {now}, 0, 'invalidate' FROM kck_generation g 
WHERE g.key_base = %(key_base)s AND g.live AND g.definition ->> 'kind' IS DISTINCT FROM 'flow'
RETURNING generation
