-- Records that were replaced before the kept time began: the last of each product stays, since it held on into that time,
-- unless its period ended before, too.
DELETE FROM kck_record WHERE id IN (SELECT r.id FROM kck_record r WHERE r.key_base = %(key_base)s
  AND (r.end_at <= {now} - %(seconds)s * interval '1 second' OR EXISTS (SELECT 1 FROM kck_record l
    WHERE l.digest = r.digest AND l.facet = r.facet AND l.facet_digest = r.facet_digest
      AND l.start_at <= {now} - %(seconds)s * interval '1 second' AND (l.start_at, l.revision) > (r.start_at, r.revision)))
    ORDER BY r.id LIMIT %(limit)s) RETURNING id
