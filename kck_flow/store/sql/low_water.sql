-- From where the next claims need to look: the oldest due time alive. Below it lie only dead index entries, which a
-- long-open snapshot elsewhere keeps from being cleaned away.
SELECT min(due_at) FROM kck_refresh WHERE lane = ANY(%(lanes)s) AND due_at IS NOT NULL
