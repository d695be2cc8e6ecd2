-- What changes whenever one of a family's frames of the last days does, or their plan.
SELECT a.place, (SELECT concat_ws('|', count(*), sum(f.revision), sum(f.want), sum(f.have), sum(f.late), max(f.closed_at))
    FROM kck_frame f WHERE f.key_base = a.base AND f.state IN ('planned', 'closed', 'skipped') AND f.start_at > {now} - interval '2 days')
FROM unnest(%(bases)s::text[]) WITH ORDINALITY AS a (base, place)
