"""Whether the database is within reach: a read on the caller's own connection is bounded where it is ours to
bound.

Outside of a transaction a hanging database is a ``StoreUnavailable`` within seconds. Django's own connections
may be without a ``connect_timeout``: while a database is known to be out of reach, one of the cache's own
tries it first.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.db import Error as DatabaseErrors
from django.db import connections

from ..conf import conf
from ..errors import StoreUnavailable
from ..store import private
from ..store.watch import answering

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


def forget() -> None:
    """Know of no database that is out of reach (between tests)."""
    _lost.clear()
