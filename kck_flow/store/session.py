"""How statements reach the database: a session on somebody's connection.

The statements themselves are files in ``sql/``, one each, with the reason on top. ``{now}`` in them is the
database's clock, read anew wherever it stands; ``{at}`` is the instant at which the statement began, the same
throughout: an expiry lies exactly its duration behind what it is counted from. A session goes around Django's
cursor where nobody listens to it: the wrapper costs as much as a read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timezone
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeVar

from django.conf import settings
from django.db import Error as DatabaseErrors
from django.db import connections, transaction

from .. import clock
from ..conf import conf
from ..errors import ReadOnlyStore
from . import prepared
from .prepared import Prepared

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

T = TypeVar("T")
READ_ONLY = "25006"  # the SQLSTATE of a write where none may be
_COMMENT = re.compile(r"--[^\n]*\n")
_SPACE = re.compile(r"\s+")


@cache
def text_of(name: str) -> str:
    """Return statement ``name`` of ``sql/``, without its comments."""
    text = resources.files(__package__).joinpath("sql", f"{name}.sql").read_text()
    return _SPACE.sub(" ", _COMMENT.sub("\n", text + "\n")).strip().rstrip(";")


@cache
def _on_database_clock(name: str, parts: tuple[tuple[str, str], ...]) -> str:
    text = text_of(name)
    for part, replacement in parts:
        text = text.replace("{" + part + "}", replacement)
    return _on_clock(text)


def statement(name: str, **parts: str) -> str:
    """Return statement ``name`` ready to send; ``parts`` fill its optional ``{pieces}``."""
    if not clock.is_moved():
        return _on_database_clock(name, tuple(parts.items()))
    text = text_of(name)
    for part, replacement in parts.items():
        text = text.replace("{" + part + "}", replacement)
    return _on_clock(text)


def _on_clock(text: str) -> str:
    now = clock.sql()
    return text.replace("{now}", now).replace("{at}", now.replace("clock_timestamp", "statement_timestamp"))


_positional = cache(prepared.positional)


class Session:
    """Statements on one connection.

    Args:
        connection: A Django connection: the caller's, the thread's own, or one of the cache's own
            (``private``).
    """

    is_private = False
    worth_it = prepared.WORTH_IT

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    @property
    def alias(self) -> str:
        return self.connection.alias

    def rows(self, name: str, params: Mapping[str, Any] | None = None, **parts: str) -> list[tuple[Any, ...]]:
        """Run statement ``name`` and return its rows (an empty list for a statement that returns none)."""
        text = statement(name, **parts)
        if name not in prepared.PREPARED or params is None:
            return self.run(text, params)
        positional, order = _positional(text)
        known = self.prepared_name(positional)
        if known is None:
            return self.run(text, params)
        execute = f"EXECUTE {known} ({', '.join(['%s'] * len(order))})"
        return self.unless_gone(
            lambda: self.run(execute, [params[one] for one in order]), lambda: self.run(text, params)
        )

    def preparing(self) -> Prepared | None:
        """Return what this connection has prepared, where it may be used: not inside the caller's transactions."""
        connection = self.connection
        if connection.in_atomic_block or not connection.autocommit or not conf.PREPARE:
            return None
        return prepared.of(connection)

    def prepared_name(self, text: str) -> str | None:
        """Return the name of a prepared statement (parameters written ``$1``); None where it is said in full."""
        connection = self.connection
        # Whoever listens to Django's cursor wants to see the statement, and no other beside it. A test's clock is
        # part of the text, and moves on.
        if connection.execute_wrappers or connection.force_debug_cursor or settings.DEBUG or clock.is_moved():
            return None
        known = self.preparing()
        if known is None:
            return None
        return known.names.get(text) or known.name(self, text, self.worth_it)

    def unless_gone(self, prepared_way: Callable[[], T], plain_way: Callable[[], T]) -> T:
        """Run a prepared statement; said in full, from now on, where the server does not know it any more."""
        try:
            return prepared_way()
        except DatabaseErrors as error:
            known = self.preparing()
            if known is None or not prepared.is_gone(error):
                raise
            known.safe = False
            known.names.clear()
            return plain_way()

    def row(self, name: str, params: Mapping[str, Any] | None = None, **parts: str) -> tuple[Any, ...] | None:
        """Run statement ``name`` and return its first row, or None."""
        found = self.rows(name, params, **parts)
        return found[0] if found else None

    def run(
        self, text: str, params: Mapping[str, Any] | Sequence[Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Run a statement's text and return its rows. Raises django.db.Error as Django's cursor does."""
        connection = self.connection
        # assertNumQueries, the debug toolbar and execute wrappers listen to Django's cursor: then go through
        # it.
        if connection.execute_wrappers or connection.force_debug_cursor or settings.DEBUG:
            with connection.cursor() as cursor:
                if not settings.USE_TZ:
                    _keep_aware(cursor.cursor)
                with _told(connection.alias):
                    cursor.execute(text, params)
                return cursor.fetchall() if cursor.description else []
        connection.ensure_connection()
        if connection.needs_rollback:
            connection.validate_no_broken_transaction()
        try:
            cursor = connection.connection.cursor()
            try:
                if not settings.USE_TZ:
                    _keep_aware(cursor)
                cursor.execute(text, params)
                return cursor.fetchall() if cursor.description else []
            finally:
                cursor.close()
        except Exception:
            with _told(connection.alias), connection.wrap_database_errors:
                raise

    def first(self, text: str, params: Mapping[str, Any] | None = None) -> tuple[Any, ...] | None:
        """Run a query's text and return its first row, or None: the way of the hot reads, with nothing to
        spare.
        """
        connection = self.connection
        if (
            connection.connection is None
            or connection.execute_wrappers
            or connection.force_debug_cursor
            or connection.needs_rollback
            or settings.DEBUG
        ):
            found = self.run(text, params)
            return found[0] if found else None
        try:
            with connection.connection.cursor() as cursor:
                cursor.execute(text, params)
                row: tuple[Any, ...] | None = cursor.fetchone()
                return row
        except Exception:
            with connection.wrap_database_errors:
                raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: a transaction, or a savepoint inside the caller's."""
        with transaction.atomic(using=self.connection.alias):
            yield


@contextmanager
def _told(alias: str) -> Iterator[None]:
    """Say what a statement that writes meets on a standby; it stays an error of the database to whoever awaits one."""
    try:
        yield
    except DatabaseErrors as error:
        cause = error.__cause__
        if (getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)) != READ_ONLY:
            raise
        name = alias.partition(":")[0]  # of the cache's own connections, too
        raise ReadOnlyStore(
            f"The database {name!r} can only be read: it is a standby, or its transaction is read only. "
            "What computes or changes products has to be asked of the primary."
        ) from cause


def _keep_aware(cursor: Any) -> None:
    """Have a cursor give aware instants in a project that uses naive ones: ours always know their offset."""
    if hasattr(cursor, "adapters"):  # psycopg 3, whose connections Django has told to strip them
        from psycopg.types.datetime import TimestamptzLoader

        cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
    else:
        cursor.tzinfo_factory = timezone


def caller(alias: str) -> Session:
    """Return a session on this thread's ordinary connection: the caller's snapshot, its uncommitted work
    included.
    """
    return Session(connections[alias])


def is_lock_timeout(error: BaseException) -> bool:
    """Whether a statement was given up because somebody else holds its row."""
    cause = error.__cause__
    return (getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)) == "55P03"


def plain(text: str) -> str:
    """Return ``text`` without what PostgreSQL's text cannot hold: NUL, and halves of surrogate pairs."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "backslashreplace").decode()


def dumps(value: Any) -> str | None:
    """Return ``value`` as the text of a jsonb parameter; None stays NULL."""
    return None if value is None else json.dumps(value)


def loads(value: Any) -> Any:
    """Return a jsonb column's value: raw cursors give it as text, on both drivers."""
    return json.loads(value) if isinstance(value, str) else value
