"""Where the caller stands: in autocommit, in a transaction (clean, or one that has written), or in a ``TestCase``."""

from __future__ import annotations

from django.db import connections

from ..store import private, products
from ..store.session import Session

OPEN, ATOMIC, TEST = "open", "atomic", "test"


def context_of(alias: str) -> str:
    """Return where the caller stands: ``open`` (autocommit), ``atomic`` (clean or dirty) or ``test``."""
    connection = connections[alias]
    if not connection.in_atomic_block:
        return OPEN if connection.autocommit or connection.connection is None else ATOMIC
    return TEST if private.in_test_case() else ATOMIC


def is_dirty(alias: str) -> bool:
    """Whether the caller's transactions, here or in another database, have written, or look at a snapshot of
    their own.
    """
    for connection in connections.all(initialized_only=True):
        if connection.connection is None or (not connection.in_atomic_block and connection.autocommit):
            continue
        if connection.vendor != "postgresql":
            return True
        if Session(connection).run(f"SELECT {products._DIRTY}")[0][0]:
            return True
    return False
