-- What a family holds as a recount is about to be published, if there is a book on it: levels, and the deltas that the count
-- takes along ({deltas}: of a long one there are none, they were folded at the cut or wait on).
INSERT INTO kck_opening (generation, flow, side, args_digest, facet, value_digest, args, facet_value, n)
SELECT %(generation)s, 0, 3, kck_digest(s.args), s.facet, kck_digest(s.facet_value), s.args, s.facet_value, sum(s.n) FROM (
    SELECT args, facet, facet_value, n FROM kck_level WHERE generation = %(generation)s AND start_at = '-infinity'
    UNION ALL
    SELECT args, facet, facet_value, n FROM kck_delta WHERE generation = %(generation)s AND kind = 'add' AND {deltas}) s
WHERE EXISTS (SELECT 1 FROM kck_book b WHERE b.generation = %(generation)s)
GROUP BY s.args, s.facet, s.facet_value HAVING sum(s.n) <> 0
