-- A product whose last refresh ended too short a while ago.
SELECT 1 FROM kck_refresh WHERE digest = %(digest)s AND finished_at > {now} - %(gap)s * interval '1 second'
