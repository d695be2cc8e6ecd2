-- How many events are old, and needed by nobody: their callables have been called, or there are none.
SELECT count(*)::int FROM {table} WHERE key_base = %(key_base)s AND at < {now} - %(seconds)s * interval '1 second'
  AND (%(needed)s::timestamptz IS NULL OR at < %(needed)s::timestamptz) AND (NOT %(waited_for)s OR callback_state NOT IN ('due', 'failed'))
