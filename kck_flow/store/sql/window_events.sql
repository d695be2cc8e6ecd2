-- What moved in one window of a flow, as it was kept: the events of one key, in the order of their ids.
SELECT to_jsonb(e) FROM kck_event e
WHERE e.key_base = %(key_base)s AND e.at >= %(start)s AND e.at < %(end)s AND e.args = kck_args(%(args)s::jsonb) ORDER BY e.id
