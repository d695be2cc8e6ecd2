-- The end of a refresh in one statement: the slot, if it is still ours; the product, if its row is still the one we began
-- from; the marks of everything whose computation read it, if it changed; the run.
-- One statement is enough: the slot's row is locked first, and a drain locks it before it touches the product; the
-- product's row is judged as it stands when it is locked (ON CONFLICT), not as the snapshot saw it; marks that commit
-- after the snapshot are found by every later read.
-- {calm} is the first gate: one row where nothing is on its way to the product, and a shorter plan will do; or always one.
-- No row comes back where it is shut. `again` is NULL where the slot is not ours any more.
-- {commit}: where nobody waits for the disk (DURABLE_PUBLISH), it is for this transaction alone.
WITH calm AS MATERIALIZED (
    {calm}
), slot AS (
    {finish}
), put AS (
    {put}
), below AS (
    -- After the row is ours: see function_mark_below.sql.
    SELECT CASE WHEN put.changed THEN kck_mark_below(%(digest)s, %(key)s, 'changed') ELSE 0 END AS marked FROM put
), run AS (
    INSERT INTO kck_run (digest, key, key_base, token, reason, causes, lane, nominal, started_at, finished_at, outcome, version, bytes, worker,
                         statements)
    SELECT %(digest)s, %(key)s, %(key_base)s, %(token)s, %(reason)s, %(causes)s::jsonb, %(run_lane)s, to_timestamp(%(run_nominal)s),
           to_timestamp(%(started)s), {now},
           CASE WHEN s.again IS NULL THEN 'fenced' WHEN p.version IS NULL THEN 'superseded' WHEN p.changed THEN 'done' ELSE 'unchanged' END,
           p.version, %(bytes)s, %(worker)s, %(statements)s::jsonb
    FROM calm LEFT JOIN slot s ON true LEFT JOIN put p ON true
)
SELECT s.again, p.version, p.changed, p.stale, p.computed, p.soft, p.hard, p.invalid, coalesce((SELECT marked FROM below), 0){commit}
FROM calm LEFT JOIN slot s ON true LEFT JOIN put p ON true
