-- What a product changes downstream, as recorded when those were computed: each direct reader gets the mark of its
-- edge; below an edge that says stale, everything derived further is stale with it, at once (a reader of the last must
-- not be served what was made from the first).
-- A function, and VOLATILE, because its statements must see what was committed after its caller's snapshot: whoever
-- changes a product locks its row first and looks for readers then; whoever reads it commits an edge first and looks
-- for a change then. One of the two sees the other.
-- A transaction with a snapshot of its own (REPEATABLE READ) does not see them all the same: then the count comes back
-- as its complement (below zero), and the caller looks for them from outside (readers_below.sql).
-- `unmarked`: only what no stale mark waits for already.
CREATE OR REPLACE FUNCTION kck_mark_below(origin uuid, origin_key text, why text, unmarked boolean DEFAULT false) RETURNS integer
LANGUAGE plpgsql VOLATILE AS $body$
DECLARE marked integer; late boolean := current_setting('transaction_isolation') <> 'read committed';
BEGIN
    IF NOT EXISTS (SELECT 1 FROM kck_edge WHERE upstream = origin) THEN
        RETURN CASE WHEN late THEN -1 ELSE 0 END;
    END IF;
    WITH RECURSIVE below AS (
        SELECT e.downstream, e.downstream_key, e.mode FROM kck_edge e WHERE e.upstream = origin
        UNION
        SELECT e.downstream, e.downstream_key, e.mode FROM kck_edge e JOIN below b ON e.upstream = b.downstream
        WHERE b.mode = 'stale' AND e.mode = 'stale'
    )
    INSERT INTO kck_pending (key_base, digest, kind, source, reason)
    SELECT split_part(b.downstream_key, '/', 1), b.downstream, min(b.mode), origin_key, why
    FROM below b WHERE b.downstream <> origin AND b.mode <> 'augment' AND NOT (unmarked AND EXISTS (
        SELECT 1 FROM kck_pending q LEFT JOIN kck_product p ON p.digest = q.digest
        WHERE q.key_base = split_part(b.downstream_key, '/', 1) AND q.digest = b.downstream AND q.kind = 'stale'
          AND NOT coalesce(p.pending_seen @> to_jsonb(q.id), false)))
    GROUP BY b.downstream, b.downstream_key, (b.mode = 'stale');
    GET DIAGNOSTICS marked = ROW_COUNT;
    RETURN CASE WHEN late THEN -1 - marked ELSE marked END;
END
$body$
