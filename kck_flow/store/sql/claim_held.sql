-- The lease is all that there is of it: whoever dies with a message leaves it to the next.
UPDATE kck_held h SET lease_until = {now} + %(lease)s * interval '1 second'
FROM (SELECT id FROM kck_held
      WHERE key_base = ANY(%(key_bases)s) AND state = 'waiting' AND (lease_until IS NULL OR lease_until < {now})
        AND (retry_at IS NULL OR retry_at <= {now})
      ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) next
WHERE h.id = next.id
RETURNING h.id, h.message, h.source, h.topic, h.message_id, h.partition_key, extract(epoch FROM h.at)::float8, h.body::text,
          h.headers::text, h.state, h.enriched::text, h.attempts, h.part, h.key_base
