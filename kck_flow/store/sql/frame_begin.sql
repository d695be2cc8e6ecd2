-- Take a frame in hand: from now on only what carries this token may write it. No row back: the lease is not ours any
-- more. A frame that nobody has planned (a reader's miss) is made here.
INSERT INTO kck_frame AS f (digest, key, key_base, args, series, start_at, end_at, planned_at, primer_version, token)
SELECT %(digest)s, %(key)s, %(key_base)s, %(args)s, %(series)s, %(start)s, %(end)s, {now}, %(primer_version)s, %(fence)s
WHERE EXISTS (SELECT 1 FROM kck_refresh r WHERE r.id = %(slot)s AND r.token = %(token)s AND r.lease_until IS NOT NULL)
ON CONFLICT (digest) DO UPDATE SET token = EXCLUDED.token
RETURNING f.state, f.want, f.have, f.revision, f.cleaned_at IS NOT NULL
