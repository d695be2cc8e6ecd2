-- The slot of a frame has done its duty, unless the frame was asked for once more.
DELETE FROM kck_refresh r WHERE r.id = %(slot)s AND r.token = %(token)s AND r.lease_until IS NOT NULL AND r.want <= r.claimed_want
  AND NOT EXISTS (SELECT 1 FROM kck_frame f WHERE f.digest = r.digest AND f.want > f.have AND f.state <> 'skipped')
RETURNING r.id
