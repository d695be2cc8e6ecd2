-- Keys that left the domain are no longer refreshed by the clock; what is wanted for another reason stays wanted.
UPDATE kck_refresh SET nominal = NULL, schedule_digest = '', due_at = CASE WHEN want > have THEN due_at END
WHERE key_base = %(key_base)s AND schedule_digest <> '' AND NOT (digest = ANY(%(keep)s::uuid[])) RETURNING id
