"""Statements that a connection plans once: planning a hot statement costs more than running it.

A prepared statement belongs to one server process. So it is used only where the next statement is sure to meet the
same one: on a direct connection (a pooler in transaction mode changes the process behind our back, and is known by
the process id that it makes up) and, where the connection is the caller's, outside of transactions: should the
statement be gone all the same (``DISCARD ALL``, a pooler that passes for a server), it is said in full, and no
transaction of the caller's has suffered from the error.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

    from .session import Session

# The others are rare, or plan in no time.
PREPARED = frozenset(
    {"begin", "begin_calm", "publish", "claim", "claim_due", "request", "finish", "write_alone", "level"}
)
# Statements on a caller's connection before it prepares: one that lives for a single request would pay for nothing.
WORTH_IT = 10
# Invalid statement name; a plan whose result has another type now (a migration); a name that is there already.
GONE = ("26000", "0A000", "42P05")
_PARAMETER = re.compile(r"%\((\w+)\)s")
_NAME = "_kck_prepared"


class Prepared:
    """What one driver connection has prepared.

    Attributes:
        names: The statement's name by its text.
        uses: How often somebody wanted a statement prepared before it was worth it.
        safe: Whether the connection keeps what it prepares; None until that was asked.
    """

    __slots__ = ("__weakref__", "names", "raw", "safe", "uses")

    def __init__(self, raw: Any) -> None:
        self.raw = ref(raw)
        self.names: dict[str, str] = {}
        self.uses = 0
        self.safe: bool | None = None

    def name(self, session: Session, text: str, worth_it: int) -> str | None:
        """Return the name of a prepared statement, preparing it where that is safe and worth it; else None.

        Args:
            text: The statement, its parameters written ``$1``, ``$2``.
            worth_it: How many statements have to come before this connection prepares any.
        """
        self.uses += 1
        if self.uses <= worth_it or self.safe is False:
            return None
        if self.safe is None:
            raw = self.raw()
            # A pooler hands out a process id of its own.
            self.safe = (
                raw is not None and session.run("SELECT pg_backend_pid()")[0][0] == raw.info.backend_pid
            )
            if not self.safe:
                return None
        name = f"kck_{sha256(text.encode()).hexdigest()[:16]}"
        session.run(f"PREPARE {name} AS {text}")
        self.names[text] = name
        return name


# By driver connection, since a pool of the driver's lends one connection to many of Django's.
_known: WeakKeyDictionary[Any, Prepared] = WeakKeyDictionary()


def of(connection: BaseDatabaseWrapper) -> Prepared | None:
    """Return what an open connection has prepared; None where it is closed."""
    raw = connection.connection
    if raw is None:
        return None
    # On Django's connection, too: a weak dictionary takes as long to look into as some reads.
    found: Prepared | None = connection.__dict__.get(_NAME)
    if found is None or found.raw() is not raw:
        found = _known.setdefault(raw, Prepared(raw))
        connection.__dict__[_NAME] = found
    return found


def is_gone(error: BaseException) -> bool:
    """Whether a prepared statement has failed because it is not there any more, or not as it was."""
    cause = error.__cause__
    return (getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)) in GONE


def positional(text: str) -> tuple[str, Sequence[str]]:
    """Return a statement with ``$1`` for its first named parameter and so on, and the parameters in that order."""
    order = list(dict.fromkeys(_PARAMETER.findall(text)))
    return _PARAMETER.sub(lambda found: f"${order.index(found[1]) + 1}", text).replace("%%", "%"), order
