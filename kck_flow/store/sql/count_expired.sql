-- How many products may no longer be served, by anybody.
SELECT count(*)::int FROM kck_product p LEFT JOIN unnest(%(key_bases)s::text[], %(graces)s::float8[]) AS g (key_base, grace) USING (key_base)
WHERE p.state <> 'unset' AND p.hard_expires_at + coalesce(g.grace, 0) * interval '1 second' <= {now}
