-- Some records of a product in the order of their instants, from one instant on, each in its last revision. {order} is
-- how they follow; those that came after {bound} are left out, so that who walks them page by page sees those that
-- were there when the walk began.
SELECT DISTINCT ON (start_at) (extract(epoch FROM start_at) * 1000000)::bigint, value
FROM kck_record
WHERE digest = %(digest)s AND facet = '' AND facet_digest = '00000000-0000-0000-0000-000000000000'
  AND start_at >= %(start)s AND start_at < %(end)s AND id <= %(bound)s
ORDER BY start_at {order}, revision DESC
LIMIT %(limit)s
