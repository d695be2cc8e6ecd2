-- One row a place; two that want the last meet on its row, and the second finds it taken. A place whose refresh has lost
-- its lease (its worker died) is free, whatever its own time says: if it is still held as it was when this statement
-- began. Who took it since may have claimed since, too, and that claim is not to be seen from here.
INSERT INTO kck_permit AS m (key_base, place, slot, token, lease_until)
SELECT %(key_base)s, f.place, %(slot)s, %(token)s, {now} + %(lease)s * interval '1 second'
FROM (SELECT g.place FROM generate_series(1, %(places)s) AS g (place)
      LEFT JOIN kck_permit h ON h.key_base = %(key_base)s AND h.place = g.place AND h.lease_until > {now}
           AND EXISTS (SELECT 1 FROM kck_refresh r WHERE r.id = h.slot AND r.token = h.token AND r.lease_until IS NOT NULL)
      WHERE h.place IS NULL ORDER BY g.place LIMIT 1) f
ON CONFLICT (key_base, place) DO UPDATE SET slot = EXCLUDED.slot, token = EXCLUDED.token, lease_until = EXCLUDED.lease_until
WHERE m.lease_until IS NULL OR m.lease_until <= {now}
   OR EXISTS (SELECT 1 FROM kck_permit h WHERE h.key_base = m.key_base AND h.place = m.place AND h.slot = m.slot AND h.token = m.token
              AND NOT EXISTS (SELECT 1 FROM kck_refresh r WHERE r.id = h.slot AND r.token = h.token AND r.lease_until IS NOT NULL))
RETURNING m.place
