-- A book is opened on what is counted, and only while no recount is under way: that could not see the book, and would not
-- write what it corrects into it. With this row locked none begins. No row: not now; whoever counts opens it after.
SELECT g.generation FROM kck_generation g
WHERE g.generation = %(generation)s AND g.live AND g.token IS NULL AND g.primed_at IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM kck_delta d WHERE d.generation = g.generation AND d.kind = 'invalidate')
FOR UPDATE
