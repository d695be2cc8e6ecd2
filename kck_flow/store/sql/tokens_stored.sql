-- What changes whenever a stored product does, as a page shows it: its version, its state (which the clock alone changes,
-- too), marks on their way to it, how its refresh stands, what was recorded for it lately. One text for each.
SELECT d.place, concat_ws('|', p.version, p.state, p.computed_at, p.invalid_at, p.soft_expires_at <= {now}, p.hard_expires_at <= {now},
    (SELECT max(q.id) FROM kck_pending q WHERE q.key_base = d.base AND q.digest = d.digest),
    (SELECT max(q.id) FROM kck_pending q WHERE q.key_base = d.base AND q.digest IS NULL),
    r.lease_until > {now}, r.attempts, r.parked_at, r.due_at,
    -- A correction of what is longer ago is found when the page is asked for again.
    (SELECT max(c.id) FROM kck_record c
      WHERE c.digest = d.digest AND c.facet = '' AND c.facet_digest = '00000000-0000-0000-0000-000000000000' AND c.start_at > {now} - interval '32 days'))
FROM unnest(%(digests)s::uuid[], %(bases)s::text[]) WITH ORDINALITY AS d (digest, base, place)
LEFT JOIN kck_product p ON p.digest = d.digest
LEFT JOIN kck_refresh r ON r.digest = d.digest
