-- Old events that nobody needs go, a batch at a time. What they counted for is in the levels and deltas of their flow.
DELETE FROM {table} WHERE id IN (
    SELECT id FROM {table} WHERE key_base = %(key_base)s AND at < {now} - %(seconds)s * interval '1 second'
      AND (%(needed)s::timestamptz IS NULL OR at < %(needed)s::timestamptz) AND (NOT %(waited_for)s OR callback_state NOT IN ('due', 'failed'))
    ORDER BY at LIMIT %(limit)s FOR UPDATE SKIP LOCKED) RETURNING (extract(epoch FROM at) * 1000000)::bigint
