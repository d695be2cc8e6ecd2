-- What stands where something is about to be put back; in order, so that two loads cannot wait for each other.
SELECT digest, state, value::text, version FROM kck_product WHERE digest = ANY(%(digests)s) ORDER BY digest FOR UPDATE
