-- What a product changes downstream, as recorded when those were computed: each direct reader gets the mark of its
-- edge; below an edge that says stale, everything derived further is stale with it, at once (a reader of the last must
-- not be served what was made from the first).
WITH RECURSIVE below AS (
    SELECT e.downstream, e.downstream_key, e.mode FROM kck_edge e WHERE e.upstream = %(digest)s
    UNION
    SELECT e.downstream, e.downstream_key, e.mode FROM kck_edge e JOIN below b ON e.upstream = b.downstream
    WHERE b.mode = 'stale' AND e.mode = 'stale'
)
INSERT INTO kck_pending (key_base, digest, kind, source, reason)
SELECT split_part(b.downstream_key, '/', 1), b.downstream, min(b.mode), %(source)s, %(reason)s
FROM below b WHERE b.downstream <> %(digest)s AND b.mode <> 'augment'
GROUP BY b.downstream, b.downstream_key, (b.mode = 'stale')
RETURNING id
