-- Rows of workers that went without a word, behind a pooler or long ago.
DELETE FROM kck_worker WHERE seen_at < {now} - %(seconds)s * interval '1 second' RETURNING id
