"""What the tests of counting share: a process that remembers nothing, and two or three sessions at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Queue
from typing import Any

import pytest
from django.db import connection, transaction

from kck_flow import Cache, testing
from kck_flow.cache.pool import pool
from kck_flow.counting import count
from kck_flow.registry import registry
from tests.harness.wait import until


@pytest.fixture
def cache() -> Cache:
    return Cache.get_instance()


@pytest.fixture(autouse=True)
def _nothing_left_over() -> Iterator[None]:
    testing.reset()
    yield
    at_rest()
    testing.reset()


def at_rest() -> None:
    """Wait until the pool has nothing to do."""
    until(lambda: not pool().busy(), "the pool to come to rest", limit=20.0)


def counted(key: str) -> Any:
    """Return what a stock's key holds, counted now."""
    found = registry.key(key)
    return count(registry.primers[found.key_base], found)  # type: ignore[arg-type]


def equal(*keys: str) -> None:
    """Fail unless what is read equals what is counted."""
    for key in keys:
        read, recounted = Cache.get_instance().get(key), counted(key)
        assert read == recounted, f"{key}: read {read}, counted {recounted}"


def primed(*keys: str) -> None:
    """Have the families of some keys counted and stored."""
    for key in keys:
        Cache.get_instance().refresh(key)
        found = registry.key(key)
        rows = sql("SELECT primed_at FROM kck_generation WHERE key_base = %s AND live", found.key_base)
        assert all(row[0] is not None for row in rows), key


def fold() -> int:
    """Fold all that waits; returns how many deltas were taken."""
    from kck_flow.store import levels
    from kck_flow.store.session import caller

    session = caller("default")
    return sum(levels.fold(session, [generation], 100_000) for generation, _ in levels.foldable(session))


def sql(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Run a statement on the test's own connection."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []


class Session:
    """A thread with a connection of its own, that does what it is told, one thing after another."""

    def __init__(self) -> None:
        self._work: Queue[Any] = Queue()
        self._done: Queue[Any] = Queue()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                self._done.put((True, work()))
            except BaseException as error:
                self._done.put((False, error))
        connection.close()

    def tell(self, work: Callable[[], Any]) -> None:
        """Have something done, and do not wait for it."""
        self._work.put(work)

    def answer(self, limit: float = 20.0) -> Any:
        """Return what came of it, or raise what it raised."""
        good, found = self._done.get(timeout=limit)
        if not good:
            raise found
        return found

    def do(self, work: Callable[[], Any]) -> Any:
        """Have something done, and wait for it."""
        self.tell(work)
        return self.answer()

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self.do(lambda: sql(statement, *parameters))
        return found

    def close(self) -> None:
        self._work.put(None)
        self._thread.join(20.0)


@pytest.fixture
def sessions() -> Iterator[Callable[[], Session]]:
    """Open further sessions."""
    opened: list[Session] = []

    def another() -> Session:
        opened.append(Session())
        return opened[-1]

    yield another
    for one in opened:
        one.close()


@contextmanager
def rolled_back() -> Iterator[None]:
    """A transaction that comes to nothing."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
