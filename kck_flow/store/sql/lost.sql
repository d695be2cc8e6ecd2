-- The run of an attempt whose process ended, or stood still, without a word: whoever ends its lease says so for it. The
-- slot as it was held is `l`. Should it come to an end after all, that is told instead (survived.sql).
INSERT INTO kck_run (digest, key, key_base, token, reason, lane, nominal, started_at, finished_at, outcome, error, worker)
SELECT l.digest, l.key, l.key_base, l.token, l.reason, l.lane, l.nominal, coalesce(l.started_at, {now}), {now}, 'lost',
       'its process ended without a word, or its lease ran out', l.lease_owner
