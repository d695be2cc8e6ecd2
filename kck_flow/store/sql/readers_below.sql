-- Who has read one of these products, directly or by way of others, as committed now: what kck_mark_below would mark, for
-- a writer whose snapshot is older than some of the edges. It holds the rows that it changed, so whoever reads them
-- after this finds them held.
WITH RECURSIVE below AS (
    SELECT o.digest AS origin, o.key AS source, e.downstream, e.downstream_key, e.mode
    FROM unnest(%(digests)s::uuid[], %(sources)s::text[]) AS o (digest, key) JOIN kck_edge e ON e.upstream = o.digest
    UNION
    SELECT b.origin, b.source, e.downstream, e.downstream_key, e.mode FROM kck_edge e JOIN below b ON e.upstream = b.downstream
    WHERE b.mode = 'stale' AND e.mode = 'stale'
)
SELECT split_part(downstream_key, '/', 1), downstream, min(mode), source
FROM below WHERE downstream <> origin AND mode <> 'augment'
GROUP BY source, downstream, downstream_key, (mode = 'stale')
