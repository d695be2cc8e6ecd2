-- Changes on their way, in the transaction that caused them. Append only: writers never wait for each other.
INSERT INTO kck_pending (key_base, digest, args, kind, source, change, reason)
SELECT * FROM unnest(%(key_bases)s::text[], %(digests)s::uuid[], %(args)s::jsonb[], %(kinds)s::text[], %(sources)s::text[],
                     %(changes)s::jsonb[], %(reasons)s::text[])
