-- A batch of them loses it; everything else about them stays.
UPDATE {table} SET {subject} = {replacement}
WHERE id IN (SELECT id FROM {table} WHERE {whose} AND {subject}::text = %(pk)s AND callback_state NOT IN ('due', 'failed') LIMIT %(limit)s FOR UPDATE)
RETURNING id
