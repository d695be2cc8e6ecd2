"""Who waits for whom in PostgreSQL: the way to know that an overlap has been reached."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db import connection as default_connection

from tests.harness.wait import until

_QUEUED = """
    SELECT waiting.pid, waiting.locktype, waiting.mode, waiting.relation::regclass::text
      FROM pg_locks AS waiting
      JOIN pg_stat_activity AS session USING (pid)
     WHERE NOT waiting.granted AND session.datname = current_database()
"""


def wait_until_queued(
    count: int = 1,
    *,
    pids: Collection[int] | None = None,
    blocked_by: int | None = None,
    connection: Any = default_connection,
    limit: float = 20.0,
) -> list[int]:
    """Wait until at least `count` sessions of this database queue for a lock; return their backend pids.

    Args:
        count: How many.
        pids: Look only at these backends.
        blocked_by: Look only at those that wait for this backend.
        connection: The Django connection to ask with; it may hold the lock in question itself.
        limit: Seconds.

    Raises:
        AssertionError: The time ran out; the message shows who waits for what.
    """

    def queued() -> list[int]:
        sql, parameters = _QUEUED, []
        if pids is not None:
            sql += " AND waiting.pid = ANY(%s)"
            parameters.append(list(pids))
        if blocked_by is not None:
            sql += " AND %s = ANY(pg_blocking_pids(waiting.pid))"
            parameters.append(blocked_by)
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            found = sorted({row[0] for row in cursor.fetchall()})
        return found if len(found) >= count else []

    try:
        return until(queued, f"{count} sessions to queue for a lock", limit=limit)
    except AssertionError as error:
        raise AssertionError(f"{error}\nSessions now:\n{sessions(connection)}") from None


def backend_pid(connection: Any = default_connection) -> int:
    """Return the process id of the backend that serves `connection`."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def sessions(connection: Any = default_connection) -> str:
    """Return what every session of this database does, a line each, for messages."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid, state, wait_event_type, wait_event, pg_blocking_pids(pid), left(query, 120)"
            "  FROM pg_stat_activity WHERE datname = current_database() ORDER BY pid"
        )
        return "\n".join(" | ".join(str(cell) for cell in row) for row in cursor.fetchall())
