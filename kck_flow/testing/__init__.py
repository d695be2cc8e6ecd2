"""Helpers for the suites of projects that use kck_flow.

A plain ``TestCase`` works unchanged: reads compute on the test's own connection, and everything vanishes with
the test. These make time move, run what a worker would, and say what was computed. With pytest, add
``pytest_plugins = ["kck_flow.testing"]`` to the root conftest for the fixtures ``kck_cache``, ``kck_clock``
and ``kck_worker``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from .. import clock, spread
from ..cache import behind, compute, counted, flows, reach, recount, tallies, tier
from ..cache.facade import Cache
from ..conf import conf
from ..errors import DeclarationError
from ..primer import Primer
from ..refresh import plan
from ..refresh import run as running
from ..refresh.passes import Passes
from ..registry import registry
from ..store import private
from ..store.session import caller

# A circle of refreshes that wake each other would otherwise never let a test end.
MOST_REFRESHES = 100_000


class Clock:
    """A clock that stands still until it is told to move; the database's statements follow it."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def __call__(self) -> datetime:
        return self._at

    def move(self, **duration: float) -> datetime:
        """Move by a timedelta's arguments, ``clock.move(minutes=5)``; returns the new instant."""
        return self.set(self._at + timedelta(**duration))

    def set(self, at: datetime) -> datetime:
        """Move to an instant (aware)."""
        clock.override(at)
        self._at = at.astimezone(UTC)
        return self._at


@contextmanager
def freeze_time(at: datetime | str | None = None) -> Iterator[Clock]:
    """Stop the cache's clock at an aware instant (or ISO text with an offset; now where not given).

    Raises:
        ValueError: the instant is naive.
    """
    if isinstance(at, str):
        at = datetime.fromisoformat(at)
    if at is not None and at.tzinfo is None:
        raise ValueError(
            f"freeze_time takes an aware instant, 2026-03-01T10:00:00+00:00, and not the naive {at}."
        )
    frozen = Clock((at or clock.now()).astimezone(UTC))
    before = clock._frozen
    clock.override(frozen())
    try:
        yield frozen
    finally:
        clock.override(before)


@dataclass
class Ran:
    """What ``run_worker`` did: keys in the order in which they ran, and what came of each."""

    keys: list[str] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def failed(self) -> list[str]:
        return [key for key, outcome in zip(self.keys, self.outcomes, strict=True) if outcome == "failed"]


def run_worker(products: Sequence[str] | None = None, *, most: int = MOST_REFRESHES) -> Ran:
    """Do here and now what a worker would: schedules, marks, folds, and every refresh that is due, until none
    is.

    Args:
        products: Key bases to serve; all where not given.
        most: How many refreshes at most.

    Raises:
        UnknownPrimer: one of ``products`` is no primer.
    """
    if isinstance(products, str):
        raise TypeError(f"run_worker takes a list of key bases, not the text {products!r}.")
    for name in products or ():
        registry.primer(name)
    ran = Ran()
    in_test = private.in_test_case()
    for alias in conf.DATABASES:
        sessions: Any = (
            (lambda alias=alias: nullcontext(caller(alias))) if in_test else compute.private_sessions(alias)
        )
        passes = Passes(
            alias,
            sessions,
            products=products,
            owner="run_worker",
            lease=3600.0 if in_test else conf.LEASE_SECONDS,
        )
        passes.sync()
        while len(ran) < most:
            moved = passes.tidy()
            claims = passes.claim(1) or passes.claim(1)
            if not claims and not moved:
                break
            for claim in claims:
                outcome = running.run(
                    claim,
                    alias,
                    sessions,
                    own_thread=not _in_transaction(alias),
                    watched=not in_test,
                    worker="run_worker",
                )
                passes.give_back(claim)
                if outcome not in ("planned", "begun", "skipped", "released"):
                    ran.keys.append(plan.served(str(claim.key)))
                    ran.outcomes.append(outcome)
    return ran


def _in_transaction(alias: str) -> bool:
    return caller(alias).connection.in_atomic_block


class Computes:
    """Which products were computed, by key."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    @property
    def total(self) -> int:
        return self.counts.total()

    def of(self, key_base: str) -> int:
        """Return how often products of a family were computed."""
        return sum(
            count for key, count in self.counts.items() if key == key_base or key.startswith(f"{key_base}/")
        )


@contextmanager
def count_computes(*key_bases: str) -> Iterator[Computes]:
    """Count the computes of some primers (of all where none is named) in this process, inside the block."""
    computes = Computes()
    primers = [registry.primer(name) for name in key_bases] or registry.unique()
    around = {primer: primer.__dict__.get("compute") for primer in primers}
    for primer in primers:
        _count(primer, computes)
    try:
        yield computes
    finally:
        for primer, counted in around.items():
            if counted is None:
                del primer.__dict__["compute"]
            else:  # a block around this one counts on
                primer.__dict__["compute"] = counted


def _count(primer: Primer, computes: Computes) -> None:
    original = primer.compute

    def counted(key: Any, *more: Any) -> Any:  # the period of a metric, the items of a frame
        computes.counts[str(key)] += 1
        return original(key, *more)

    primer.__dict__["compute"] = counted


@contextmanager
def assert_computes(number: int, *key_bases: str) -> Iterator[Computes]:
    """Fail unless the block computes exactly ``number`` products (of some primers, where named)."""
    with count_computes(*key_bases) as computes:
        yield computes
    assert computes.total == number, (
        f"computed {computes.total} products, not {number}: {dict(computes.counts)}"
    )


def assert_value(key: str, value: Any) -> None:
    """Fail unless a product has this value."""
    found = Cache.get_instance().get(key)
    assert found == value, f"{key!r} is {found!r}, not {value!r}"


def assert_state(key: str, state: str) -> None:
    """Fail unless a product is ``fresh``, ``stale``, ``computing``, ``failed`` or ``empty``; computes
    nothing.
    """
    found = Cache.get_instance().explain(key)
    assert found["state"] == state, f"{key!r} is {found['state']} ({found['cause']}), not {state}"


def assert_fresh(key: str) -> None:
    """Fail unless a product is stored and fresh; computes nothing."""
    assert_state(key, "fresh")


def assert_augment_equals_compute(key: str) -> None:
    """Fail unless the product as it is read, changes folded in, equals the product computed afresh."""
    found = registry.key(key)
    primer = registry.primer(found.key_base)
    read = Cache.get_instance().get(key)
    afresh = primer.codec.decode(primer.codec.encode(primer.compute(found)))
    assert read == afresh, f"{key!r} is {read!r}; computed afresh it is {afresh!r}"


@contextmanager
def registered(*primers: type[Primer]) -> Iterator[list[Primer]]:
    """Declare primers for the length of a block; those that were declared before stay.

    Raises:
        DeclarationError: one cannot be set up, or its name is taken.
    """
    new = [primer for primer in primers if primer not in registry.classes]
    try:
        made = []
        for declared in primers:
            primer = registry.register(declared)
            if primer is None:
                raise DeclarationError(f"{declared.__name__} cannot be set up: {registry.broken[-1].error}")
            for name in primer.key_base_list:
                if registry.primers.get(name) is not primer:
                    other = type(registry.primer(name)).__name__
                    raise DeclarationError(f"{declared.__name__}: the name {name!r} is taken by {other}.")
            made.append(primer)
        yield made
    finally:
        for declared in new:
            registry.withdraw(declared)


def reset() -> None:
    """Forget what this process keeps between calls: the in-process tier, what was asked for, who lives."""
    tier.clear()
    behind.forget()
    tallies.forget()
    counted.forget()
    for declared in registry.on_demand.values():
        registry.withdraw(declared)
    flows.forget()
    recount.forget()
    reach.forget()


@contextmanager
def fresh_cache() -> Iterator[Cache]:
    """Give a cache that remembers nothing of what this process did before."""
    reset()
    try:
        yield Cache.get_instance()
    finally:
        reset()


def alias_of(key_base: str) -> str:
    """Return the database that holds a family's products."""
    return spread.alias_of(registry.primers.get(key_base))


try:
    import pytest
except ImportError:  # the helpers do not need it; the fixtures below do
    pass
else:

    @pytest.fixture
    def kck_cache() -> Iterator[Cache]:
        """A cache that remembers nothing of the tests before."""
        with fresh_cache() as cache:
            yield cache

    @pytest.fixture
    def kck_clock() -> Iterator[Clock]:
        """A clock that stands still until it is moved."""
        with freeze_time() as frozen:
            yield frozen

    @pytest.fixture
    def kck_worker() -> Any:
        """``run_worker``: call it to do what a worker would."""
        return run_worker
