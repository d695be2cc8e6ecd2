-- Only where there is no row: one that is there was invalidated itself.
INSERT INTO kck_product (digest, key, key_base, state, version, epoch, invalid_at)
VALUES (%(digest)s, %(key)s, %(key_base)s, 'unset', 0, 1, {now}) ON CONFLICT (digest) DO NOTHING
