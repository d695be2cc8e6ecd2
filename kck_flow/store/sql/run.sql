-- What happened, appended in the same transaction as its effect.
INSERT INTO kck_run (digest, key, key_base, token, reason, causes, lane, nominal, started_at, finished_at, outcome, error, traceback, version, bytes, worker, statements)
VALUES (%(digest)s, %(key)s, %(key_base)s, %(token)s, %(reason)s, %(causes)s::jsonb, %(lane)s, to_timestamp(%(nominal)s), to_timestamp(%(started)s), {now},
    %(outcome)s, %(error)s, %(traceback)s, %(version)s, %(bytes)s, %(worker)s, %(statements)s::jsonb)
