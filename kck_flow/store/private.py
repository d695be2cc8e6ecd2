"""The cache's own connections: leases, publishing and requests, outside the caller's transaction.

They are copies of an alias's connection, opened when first needed, at most ``PRIVATE_CONNECTIONS`` a process
(and one for the beats), closed after ``PRIVATE_IDLE_SECONDS`` without use. Five traps, each closed here:

* a copy made at import points at the production database during tests: made lazily, keyed by the current
NAME;
* left open, it stops the test database from being dropped: all are closed when Django opens its ``__no_db__``
connection;
* inside a ``TestCase`` it sees nothing and its commits survive: refused there (the cache uses the test's
connection);
* another thread may use it next: thread sharing is on;
* Django's psycopg pools are keyed by alias, so a copy would draw from the application's own: the option is
removed.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.backends.signals import connection_created

from ..conf import conf
from ..errors import KckFlowError
from . import prepared
from .prepared import Prepared
from .session import Session
from .watch import answering

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

BEAT, WAKE = "beat", "wake"
OUT_OF_REACH = 2.0
# What is done in a transaction between two statements (an augment, hooks of a fold) may take so many times as long.
IDLE_SHARE = 6
SUFFIX = ":kck"


class Busy(KckFlowError):
    """None of the cache's own connections was free in time."""


class PrivateSession(Session):
    """A session on one of the cache's own connections; autocommit unless ``transaction`` is entered."""

    is_private = True
    worth_it = 0

    def __init__(self, connection: BaseDatabaseWrapper, pooled: bool) -> None:
        super().__init__(connection)
        self.pooled = pooled
        self._depth = 0

    def preparing(self) -> Prepared | None:
        return None if self.pooled else prepared.of(self.connection)

    def run(self, text: str, params: Any = None) -> list[tuple[Any, ...]]:
        if self.pooled and not self._depth:
            # Behind a pooler in transaction mode a SET is somebody else's: the bounds go with each
            # transaction.
            with self.transaction():
                return self._say(text, params)
        return self._say(text, params)

    def _say(self, text: str, params: Any = None) -> list[tuple[Any, ...]]:
        raw = self.connection.connection
        if raw is None:
            return super().run(text, params)
        # The server gives up by itself after STATEMENT_TIMEOUT: one that says nothing even then is out of reach.
        with answering(raw, conf.STATEMENT_TIMEOUT + OUT_OF_REACH):
            return super().run(text, params)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if self._depth:
            self._depth += 1
            savepoint = f"kck_{self._depth}"
            self._say(f"SAVEPOINT {savepoint}")
            try:
                yield
                self._say(f"RELEASE SAVEPOINT {savepoint}")
            except BaseException:
                self._say(f"ROLLBACK TO SAVEPOINT {savepoint}")
                raise
            finally:
                self._depth -= 1
            return
        self._say(f"BEGIN ISOLATION LEVEL READ COMMITTED{'; ' + _bounds('LOCAL ') if self.pooled else ''}")
        self._depth = 1
        try:
            yield
            self._say("COMMIT")
        except BaseException:
            try:
                self._say("ROLLBACK")
            except Exception:  # the connection is gone, and the transaction with it
                self.connection.close()
            raise
        finally:
            self._depth = 0


def _bounds(local: str = "") -> str:
    return (
        f"SET {local}lock_timeout = {int(conf.CLAIM_TIMEOUT * 1000)}; "
        f"SET {local}statement_timeout = {int(conf.STATEMENT_TIMEOUT * 1000)}; "
        # A process that stands still, or whose host is gone, in the middle of a transaction: its locks end with it.
        f"SET {local}idle_in_transaction_session_timeout = {int(conf.STATEMENT_TIMEOUT * IDLE_SHARE * 1000)}"
    )


class _Pool:
    """The idle and lent connections of one alias of one database in one process."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.idle: list[tuple[BaseDatabaseWrapper, bool, float]] = []
        self.lent = 0


_pools: dict[tuple[int, str, str, str], _Pool] = {}
_pools_lock = threading.Lock()


def in_test_case() -> bool:
    """Whether any open connection of this thread is inside a TestCase: then everything happens on the test's
    own.
    """
    return any(
        getattr(block, "_from_testcase", False)
        for connection in connections.all(initialized_only=True)
        for block in connection.atomic_blocks
    )


@contextmanager
def session(alias: str, purpose: str = "", timeout: float | None = None) -> Iterator[PrivateSession]:
    """Lend one of the cache's own connections.

    Args:
        alias: Which database.
        purpose: ``BEAT`` has a connection of its own, so that a crowd of readers cannot stop the beats.
        timeout: Seconds to wait for a free one; ``CLAIM_TIMEOUT`` where not given.

    Raises:
        Busy: none was free in time.
        django.db.Error: the database cannot be reached.
    """
    if in_test_case():
        raise KckFlowError(
            "Inside a TestCase the cache works on the test's own connection; this is a bug in kck_flow."
        )
    pool = _pool(alias, purpose)
    connection, pooled = _lend(pool, alias, 1 if purpose else conf.PRIVATE_CONNECTIONS, timeout)
    broken = False
    try:
        yield PrivateSession(connection, pooled)
    except BaseException:
        broken = not _is_idle(connection)
        raise
    finally:
        _give_back(pool, connection, pooled, broken)


def close_all(alias: str | None = None) -> None:
    """Close the idle ones, of one alias or of all (before a test database is dropped, when one has been found
    dead, at the end of a worker).
    """
    with _pools_lock:
        pools = [
            pool
            for (pid, of, *_), pool in _pools.items()
            if pid == os.getpid() and (alias is None or alias == of)
        ]
    for pool in pools:
        with pool.lock:
            idle, pool.idle = pool.idle, []
        for connection, _pooled, _since in idle:
            connection.close()


def close_idle() -> None:
    """Close those unused for ``PRIVATE_IDLE_SECONDS``."""
    limit = time.monotonic() - conf.PRIVATE_IDLE_SECONDS
    with _pools_lock:
        pools = [pool for (pid, *_), pool in _pools.items() if pid == os.getpid()]
    for pool in pools:
        with pool.lock:
            old = [row for row in pool.idle if row[2] < limit]
            pool.idle = [row for row in pool.idle if row[2] >= limit]
        for connection, _pooled, _since in old:
            connection.close()


def _pool(alias: str, purpose: str) -> _Pool:
    # After a fork the pid differs, and the parent's sockets are never touched again.
    settings = connections[alias].settings_dict
    name = (os.getpid(), alias, f"{settings['HOST']}:{settings['PORT']}/{settings['NAME']}", purpose)
    found = _pools.get(name)
    if found is None:
        with _pools_lock:
            found = _pools.setdefault(name, _Pool())
    return found


def _lend(pool: _Pool, alias: str, most: int, timeout: float | None) -> tuple[BaseDatabaseWrapper, bool]:
    deadline = time.monotonic() + (conf.CLAIM_TIMEOUT if timeout is None else timeout)
    with pool.lock:
        while pool.lent >= most:
            left = deadline - time.monotonic()
            if left <= 0 or not pool.lock.wait(left):
                raise Busy(
                    f"All {most} of the cache's own connections to {alias!r} were busy. "
                    "Raise KCK_FLOW['PRIVATE_CONNECTIONS']."
                )
        pool.lent += 1
        if pool.idle:
            connection, pooled, since = pool.idle.pop()
            if time.monotonic() - since < conf.PRIVATE_IDLE_SECONDS and not _has_news(connection):
                return connection, pooled
            connection.close()
    try:
        return _open(alias)
    except BaseException:
        with pool.lock:
            pool.lent -= 1
            pool.lock.notify()
        raise


def _has_news(connection: BaseDatabaseWrapper) -> bool:
    """Whether an idle connection has something to read: the server has nothing to say but that it is gone."""
    try:
        watch = select.poll()
        watch.register(connection.connection.fileno(), select.POLLIN | select.POLLPRI)
        return bool(watch.poll(0))
    except Exception:  # closed on our side: the driver has noticed already
        return True


def _give_back(pool: _Pool, connection: BaseDatabaseWrapper, pooled: bool, broken: bool) -> None:
    if broken or connection.connection is None:
        connection.close()
    with pool.lock:
        pool.lent -= 1
        if connection.connection is not None:
            pool.idle.append((connection, pooled, time.monotonic()))
        pool.lock.notify()


def _open(alias: str) -> tuple[BaseDatabaseWrapper, bool]:
    original = connections[alias]
    connection = original.copy(alias=f"{alias}{SUFFIX}")
    options = dict(connection.settings_dict.get("OPTIONS") or {})
    options.pop("pool", None)
    options.pop("isolation_level", None)
    # A server that went away without a word must not hold a lease's holder, nor a reader, for minutes.
    for name, value in {"connect_timeout": 3, "tcp_user_timeout": 5000, "keepalives_idle": 5}.items():
        options.setdefault(name, value)
    connection.settings_dict = {
        **connection.settings_dict,
        "OPTIONS": options,
        "AUTOCOMMIT": True,
        "CONN_MAX_AGE": None,
        "ATOMIC_REQUESTS": False,
    }
    connection.inc_thread_sharing()
    connection.ensure_connection()
    raw = connection.connection
    session = Session(connection)
    try:
        # A pooler hands out a process id of its own: the one honest sign that session state is not ours.
        pooled = session.run("SELECT pg_backend_pid()")[0][0] != raw.info.backend_pid
        if not pooled:
            # Whatever the role's transactions are: what is judged here is what is committed now.
            session.run(f"SET default_transaction_isolation = 'read committed'; {_bounds()}")
    except BaseException:
        connection.close()
        raise
    return connection, pooled


def _is_idle(connection: BaseDatabaseWrapper) -> bool:
    raw = connection.connection
    try:
        return raw is not None and int(raw.info.transaction_status) == 0
    except Exception:
        return False


def _forget_when_dropping(sender: Any, connection: BaseDatabaseWrapper, **_: Any) -> None:
    if connection.alias == "__no_db__":
        close_all()


connection_created.connect(_forget_when_dropping, dispatch_uid="kck_flow.store.private")


def _after_fork() -> None:
    global _pools_lock
    # A lock held by a thread of the parent would never be freed here; the parent's sockets are not ours to
    # close.
    _pools_lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
