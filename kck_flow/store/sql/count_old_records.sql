-- How many records say what held before the kept time began.
SELECT count(*)::int FROM kck_record r WHERE r.key_base = %(key_base)s
  AND (r.end_at <= {now} - %(seconds)s * interval '1 second' OR EXISTS (SELECT 1 FROM kck_record l
    WHERE l.digest = r.digest AND l.facet = r.facet AND l.facet_digest = r.facet_digest
      AND l.start_at <= {now} - %(seconds)s * interval '1 second' AND (l.start_at, l.revision) > (r.start_at, r.revision)))
