SELECT digest, value::text, version FROM kck_product WHERE digest = ANY(%(digests)s::uuid[]) ORDER BY digest FOR NO KEY UPDATE
