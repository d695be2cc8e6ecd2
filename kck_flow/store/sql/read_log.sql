-- What has come to the log since a reader was there, by transaction and place: a transaction that ended before another
-- began has the smaller number. What a reader has seen is what its last snapshot saw: not up to some number, since
-- transactions end in another order than they begin. New to it is what was on its way then, and what began after.
-- {until}: of a round that is not over, the snapshot that it reads up to. {his}: what of it is for this reader. {floor}: of a log
-- that was restored, what has come since.
WITH found AS (
    (SELECT o.* FROM kck_outbox o
     WHERE o.xact = ANY(%(running)s::xid8[]) AND (o.xact, o.id) > (%(xact)s::xid8, %(id)s){until}{floor} AND {his}
     ORDER BY o.xact, o.id LIMIT %(limit)s)
    UNION ALL
    (SELECT o.* FROM kck_outbox o
     WHERE o.xact >= %(from)s::xid8 AND (o.xact, o.id) > (%(xact)s::xid8, %(id)s){until}{floor} AND {his}
     ORDER BY o.xact, o.id LIMIT %(limit)s)
)
SELECT o.id, o.xact::text, o.source, o.topic, o.message_id, o.partition_key, extract(epoch FROM o.at)::float8, o.body::text,
       o.headers::text, o.shard
FROM found o ORDER BY o.xact, o.id LIMIT %(limit)s
