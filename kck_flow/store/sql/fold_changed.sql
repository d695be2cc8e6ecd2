-- A part of fold_levels.sql: the keys whose deltas did not cancel each other out.
(SELECT jsonb_agg(jsonb_build_array(c.key_base, c.args, extract(epoch FROM c.start_at))) FROM (
    SELECT DISTINCT g.key_base, t.args, t.start_at FROM (
        SELECT generation, args, start_at FROM taken GROUP BY generation, args, start_at, facet, facet_value
        HAVING sum(n) <> 0 OR sum(amount) <> 0) t JOIN kck_generation g USING (generation)) c)
