-- Messages come to the end of the log, in the order in which they were given; one that has been there changes nothing,
-- but that history that was fetched for some topics is for others, too, where it is fetched for those: they have not
-- begun to read. {known} says which of the two.
-- The transaction has its number before any row has one of its own: readers go by both.
WITH own AS MATERIALIZED (
    SELECT pg_current_xact_id() AS xact
), new AS (
    INSERT INTO kck_outbox AS o (digest, source, topic, message_id, partition_key, shard, at, body, headers, audience, xact)
    SELECT m.digest, %(source)s, m.topic, m.message_id, m.partition_key, m.shard, m.at, m.body, m.headers, %(audience)s::jsonb,
           own.xact
    FROM own, unnest(%(digests)s::uuid[], %(topics)s::text[], %(ids)s::text[], %(keys)s::text[], %(shards)s::smallint[],
                     %(ats)s::timestamptz[], %(bodies)s::jsonb[], %(headers)s::jsonb[]) WITH ORDINALITY
         AS m(digest, topic, message_id, partition_key, shard, at, body, headers, place)
    ORDER BY m.place
    ON CONFLICT (digest) {known}
    RETURNING o.xact
)
SELECT count(*) FROM new, own WHERE new.xact = own.xact
