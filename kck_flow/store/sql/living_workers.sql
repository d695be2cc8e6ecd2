-- Whether somebody else will refresh what a reader found stale.
SELECT count(*)::int FROM kck_worker WHERE seen_at > {now} - %(within)s * interval '1 second'
