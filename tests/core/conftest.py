"""What the core's tests share: primers declared for one test, threads that overlap, a pool at rest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections

from kck_flow import Cache, Primer
from kck_flow.cache import behind, flight, read, tier
from kck_flow.cache.pool import pool
from kck_flow.registry import registry
from tests.harness.wait import until

LIMIT = 20.0


@pytest.fixture
def cache() -> Cache:
    return Cache.get_instance()


@pytest.fixture(autouse=True)
def _nothing_left_over() -> Iterator[None]:
    """Each test begins with a process that remembers nothing, and ends when its threads are at rest."""
    behind.forget()
    tier.clear()
    read.sourced.clear()
    yield
    at_rest()
    behind.forget()
    tier.clear()


def at_rest() -> None:
    """Wait until no flight is under way and the pool has nothing to do."""
    until(lambda: not flight._flights and not pool().busy(), "the pool to come to rest", limit=LIMIT)


class Declared:
    """Primers for one test: each call makes and registers one; ``calls`` tells what was computed."""

    def __init__(self) -> None:
        self.classes: list[type[Primer]] = []
        self.calls: list[str] = []

    def __call__(
        self,
        key_base: str,
        compute: Callable[..., Any] | Any = None,
        *,
        base: type[Primer] = Primer,
        **attributes: Any,
    ) -> Primer:
        calls = self.calls

        def counted(primer: Primer, key: Any) -> Any:
            calls.append(str(key))
            return compute(key) if callable(compute) else compute

        made = type(
            key_base,
            (base,),
            {"key_base": key_base, "compute": counted, "__module__": __name__, **attributes},
        )
        return self.register(made)

    def register(self, declared: type[Primer]) -> Primer:
        self.classes.append(declared)
        primer = registry.register(declared)
        assert primer is not None, registry.broken[-1].text
        return primer

    def count(self, key: str) -> int:
        """How often a product was computed."""
        return self.calls.count(key)


@pytest.fixture
def declare() -> Iterator[Declared]:
    declared = Declared()
    try:
        yield declared
    finally:
        at_rest()
        for one in declared.classes:
            registry.withdraw(one)
        registry.broken[:] = [one for one in registry.broken if __name__ not in one.module]


class Gate:
    """A place where a thread stops: the test waits until it is there, and lets it on."""

    def __init__(self) -> None:
        self._there = threading.Semaphore(0)
        self._open = threading.Event()

    def stop(self) -> None:
        """Called by the thread: say that it is there, and wait."""
        self._there.release()
        assert self._open.wait(LIMIT), "nobody opened the gate"

    def reached(self, times: int = 1) -> None:
        """Called by the test: wait until a thread is there."""
        for _ in range(times):
            assert self._there.acquire(timeout=LIMIT), "nobody came to the gate"

    def is_reached(self) -> bool:
        return self._there.acquire(blocking=False)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    one = Gate()
    yield one
    one.open()


@pytest.fixture
def gates() -> Iterator[Callable[[], Gate]]:
    made: list[Gate] = []

    def make() -> Gate:
        made.append(Gate())
        return made[-1]

    yield make
    for one in made:
        one.open()


class Thread(threading.Thread):
    """A caller in a thread of its own; ``result()`` is what it returned, or raises what it raised."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._function = function
        self._result: Any = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:
            self.error = error
        finally:
            connections.close_all()

    def result(self, limit: float = LIMIT) -> Any:
        self.join(limit)
        assert not self.is_alive(), "the thread has not ended"
        if self.error is not None:
            raise self.error
        return self._result

    def failure(self, limit: float = LIMIT) -> BaseException:
        self.join(limit)
        assert not self.is_alive(), "the thread has not ended"
        assert self.error is not None, f"it returned {self._result!r}"
        return self.error


@pytest.fixture
def threads() -> Iterator[Callable[..., Thread]]:
    """Start callers; whoever still runs at the end is waited for."""
    started: list[Thread] = []

    def start(function: Callable[[], Any]) -> Thread:
        started.append(Thread(function))
        return started[-1]

    yield start
    for one in started:
        one.join(LIMIT)


def all_at_once(number: int, function: Callable[[int], Any]) -> list[Any]:
    """Run ``function(i)`` in so many threads that begin together; return results or exceptions, in order."""
    barrier = threading.Barrier(number)

    def begin(i: int) -> Any:
        barrier.wait(LIMIT)
        return function(i)

    callers = [Thread(lambda i=i: begin(i)) for i in range(number)]  # type: ignore[misc]
    found: list[Any] = []
    for caller in callers:
        caller.join(60)
        assert not caller.is_alive(), "a thread has not ended"
        found.append(caller.error if caller.error is not None else caller._result)
    return found
