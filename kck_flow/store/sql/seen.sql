-- What a compute that begins now has seen: its own changes on their way are consumed (their effect on the entry is
-- kept by `take_pending`), the family-wide ones are remembered by id, since ids alone carry no order.
SELECT p.version, p.epoch, p.state, p.value, p.sourced, extract(epoch FROM p.computed_at)::float8,
       extract(epoch FROM p.soft_expires_at)::float8, extract(epoch FROM p.hard_expires_at)::float8,
       p.invalid_at IS NOT NULL, p.primer_version, extract(epoch FROM {now})::float8, p.key,
       (SELECT jsonb_agg(q.id) FROM kck_pending q
         WHERE q.key_base = %(key_base)s AND q.digest IS NULL AND (q.args IS NULL OR %(args)s::jsonb @> q.args))
FROM (SELECT 1) one LEFT JOIN kck_product p ON p.digest = %(digest)s
