"""Whether the database is within reach: a read on the caller's own connection is bounded where it is ours to
bound.

Outside of a transaction a hanging database is a ``StoreUnavailable`` within seconds. Django's own connections
may be without a ``connect_timeout``: while a database is known to be out of reach, one of the cache's own
tries it first.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from django.db import Error as DatabaseErrors
from django.db import InterfaceError, OperationalError, connections

from ..conf import conf
from ..errors import StoreUnavailable
from ..store import private
from ..store.watch import answering

T = TypeVar("T")
_lost: set[str] = set()
_UNBOUNDED: AbstractContextManager[None] = nullcontext()


def bounded(connection: Any) -> AbstractContextManager[None]:
    """Give the caller's connection as long to answer as the cache's own, unless a transaction is open on it."""
    raw = connection.connection
    if raw is None or connection.in_atomic_block:
        return _UNBOUNDED
    return answering(raw, conf.STATEMENT_TIMEOUT + private.OUT_OF_REACH)


def is_lost(alias: str) -> bool:
    """Whether this thread would have to connect to a database that was out of reach a moment ago."""
    return alias in _lost and connections[alias].connection is None


def look(alias: str, error: BaseException | None = None) -> None:
    """Try the database on a connection of the cache's own; on a new one where ``error`` has ended another.

    Raises:
        StoreUnavailable: it is out of reach still.
    """
    known = alias in _lost
    _lost.add(alias)
    if error is not None:
        # What ended one connection has ended those that were idle, too; the news of it may still be on its way.
        private.close_all(alias)
    try:
        with private.session(alias, timeout=conf.CLAIM_TIMEOUT) as session:
            session.run("SELECT 1")
    except private.Busy as busy:
        # Its own connections wait as well: for the database, if that was out of reach before; else for each
        # other.
        if known:
            raise StoreUnavailable(
                f"The database {alias!r} does not answer: {error or busy}".strip()
            ) from busy
    except DatabaseErrors as found:
        raise StoreUnavailable(f"The database {alias!r} does not answer: {error or found}".strip()) from found
    _lost.discard(alias)


def once_more(alias: str, is_open: bool, what: str, ask: Callable[[], T]) -> T:
    """Ask the database; on a connection that has gone, perhaps only the connection, once more on a new one.

    Args:
        is_open: Whether no transaction of the caller's is open, which a new connection would lose.
        what: What is asked for, in the words of the error.

    Raises:
        StoreUnavailable: the new one does not answer either.
    """
    connection = connections[alias]
    if is_open and is_lost(alias):
        look(alias)
    try:
        with bounded(connection):
            return ask()
    except (OperationalError, InterfaceError) as error:
        if not is_open:
            raise
        connection.close()
        look(alias, error)
        try:
            return ask()
        except DatabaseErrors:
            connection.close()
            raise StoreUnavailable(f"The database did not answer for {what!r}: {error}".strip()) from error


def forget() -> None:
    """Know of no database that is out of reach (between tests)."""
    _lost.clear()
