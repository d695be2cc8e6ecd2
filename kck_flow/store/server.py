"""What the server and its tables are like: what ``kck check --setup`` looks at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from django.apps import apps
from django.db import connections

from .. import clock
from .session import Session

# What a beat writes: an index over any of these would make each beat rewrite the index, too (no HOT update).
BEATEN = ("lease_until", "progress", "token", "lease_owner")


@dataclass(frozen=True, slots=True)
class Facts:
    """One connection's server.

    Attributes:
        version: ``server_version_num``: 170002 for 17.2.
        seconds: Its clock, POSIX.
        backend: The process that serves this connection.
        connected: The process that the driver connected to; another one behind a pooler.
    """

    database: str
    version: int
    text: str
    seconds: float
    backend: int
    connected: int
    isolation: str
    autocommit: bool

    @property
    def pooled(self) -> bool:
        """Whether a pooler stands between us and the server."""
        return self.backend != self.connected


def facts(session: Session) -> Facts:
    """Return what the server says of itself. Raises django.db.Error where it cannot be reached."""
    row = session.row("server_facts")
    assert row is not None
    connection = connections[session.alias]
    connected = connection.connection.info.backend_pid
    return Facts(row[0], row[1], row[2], row[3], row[4], connected, row[5], connection.get_autocommit())


def missing_columns(session: Session) -> dict[str, list[str]]:
    """Return the columns that our models have and the database lacks, by table; ``[]`` for a table that is missing."""
    there: dict[str, set[str]] = {}
    wanted = {model._meta.db_table: model for model in apps.get_app_config("kck_flow").get_models()}
    for table, column in session.rows("server_columns", {"tables": list(wanted)}):
        there.setdefault(table, set()).add(column)
    lacking: dict[str, list[str]] = {}
    for table, model in wanted.items():
        columns = [field.column for field in model._meta.concrete_fields if field.column]
        if table not in there:
            lacking[table] = []
        elif gone := [column for column in columns if column not in there[table]]:
            lacking[table] = gone
    return lacking


def beaten_indexes(session: Session) -> list[str]:
    """Return the indexes over columns of the slots that beats write."""
    return [row[0] for row in session.rows("beaten_indexes", {"columns": list(BEATEN)})]


class Held(NamedTuple):
    """What keeps deltas that were folded from being vacuumed.

    Attributes:
        seconds: How long the oldest transaction has been open; 0 where there is none.
        what: Whose it is, in words.
        deltas: How many deltas there are, counted up to the bound that was asked for.
    """

    seconds: float
    what: str
    deltas: int


def oldest_snapshot(session: Session, most: int) -> Held:
    """Return the oldest transaction of this database, and how many deltas there are, at most ``most``."""
    row = session.row("oldest_snapshot", {"most": most})
    assert row is not None
    return Held(*row)


def settled_at(session: Session) -> datetime | None:
    """Return the instant up to which all is there: no transaction that began before it is still running. None on a
    standby, where nobody can tell. Where a test has stopped the clock, its instant.
    """
    if clock.is_frozen():
        return clock.now()
    row = session.row("settled_at")
    assert row is not None
    return None if row[0] is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=row[0])


def hidden_sessions(session: Session) -> tuple[int, str]:
    """Return how many sessions of the database our role may not see into, and the role: when a transaction of theirs
    began, ``settled_at`` cannot tell.
    """
    row = session.row("hidden_sessions")
    assert row is not None
    return row[0], row[1]
