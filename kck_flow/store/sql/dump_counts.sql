-- How much there is to carry: for the header, and for whoever waits.
SELECT (SELECT count(*) FROM kck_product WHERE state <> 'unset' AND NOT starts_with(key, '!')
          AND (%(key_bases)s::text[] IS NULL OR key_base = ANY(%(key_bases)s)))::int,
       (SELECT count(*) FROM kck_record WHERE %(key_bases)s::text[] IS NULL OR key_base = ANY(%(key_bases)s))::int,
       (SELECT count(*) FROM kck_edge WHERE NOT starts_with(downstream_key, '!')
          AND (%(key_bases)s::text[] IS NULL OR split_part(downstream_key, '/', 1) = ANY(%(key_bases)s)))::int
