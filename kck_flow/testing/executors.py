"""What every executor must do, as tests for pytest: with its real broker, and members that are real processes.

Subclass ``ExecutorConformance`` and say how the fleet is started and killed. Its members need a project whose settings
have ``kck_flow.executors.probe`` among ``INSTALLED_APPS`` and the test's own database.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, connections

from .. import Cache
from ..refresh.executor import Dispatcher, Executor


class ExecutorConformance:
    """Tests that an executor must pass. Yours is tested by a subclass, whose name begins with Test.

    Attributes:
        patience: Seconds to wait for what must come.
    """

    pytestmark = pytest.mark.django_db(transaction=True)

    patience: float = 60.0

    # -- what a subclass says

    def make(self) -> Executor | None:
        """Return the executor; None where the fleet claims what is due by itself, as ``kck worker`` does."""
        raise NotImplementedError

    def start(self) -> None:
        """Start members that carry out at least two refreshes at once; return when they take hints."""
        raise NotImplementedError

    def kill(self) -> None:
        """Kill every member, with -9: also called after each test."""
        raise NotImplementedError

    def lose_hints(self) -> None:
        """Take from the broker all that waits in it."""
        pytest.skip("this suite does not empty its broker")

    def stop_broker(self) -> None:
        """Stop the broker."""
        pytest.skip("this suite does not stop its broker")

    def start_broker(self) -> None:
        """Start it again, empty or not; members that need it for that are started again, too."""
        raise NotImplementedError

    # -- what the tests are made of

    @pytest.fixture(autouse=True)
    def _fleet(self) -> Iterator[None]:
        self._dispatchers: list[Dispatcher] = []
        try:
            yield
        finally:
            self.kill()
            for dispatcher in self._dispatchers:
                dispatcher.close()

    def dispatcher(self, *, lease: float = 30.0, executor: Executor | None = None) -> Dispatcher | None:
        """Return a dispatcher to this executor; None where there is nothing to dispatch."""
        executor = executor or self.make()
        if executor is None:
            return None
        made = Dispatcher(executor, lease=lease)
        self._dispatchers.append(made)
        return made

    def ask(self, count: int, *, name: str = "p", milliseconds: int = 0) -> list[str]:
        """Ask for so many refreshes; returns their keys."""
        keys = [f"kck_probe/{name}{number}/{milliseconds}" for number in range(count)]
        for key in keys:
            Cache.get_instance().request_refresh(key)
        return keys

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Turn the wheel until this holds."""
        deadline = time.monotonic() + self.patience
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"after {self.patience:g} s of waiting for {what}: {outcomes()}, {slots()}"
                )
            for dispatcher in self._dispatchers:
                dispatcher.tick()
            time.sleep(0.02)

    def all_done(self, keys: list[str]) -> None:
        """Turn the wheel until each of these is stored, and see that each was stored once."""
        self.until(lambda: outcomes("done").keys() >= set(keys), f"{len(keys)} refreshes")
        assert outcomes("done") == dict.fromkeys(keys, 1)

    # -- the tests

    def test_each_refresh_is_carried_out_once_and_by_a_member(self) -> None:
        self.dispatcher()
        self.start()
        keys = self.ask(40)
        self.all_done(keys)
        assert set(outcomes()) == {(key, "done") for key in keys}
        values = Cache.get_instance().get_many(keys)
        assert os.getpid() not in set(values.values())

    def test_two_dispatchers_share_the_work_and_keep_within_the_bound(self) -> None:
        executor = self.make()
        bound = getattr(executor, "in_flight", None)
        if executor is None or bound is None:
            pytest.skip("this executor has no bound of its own")
        over = threading.Event()
        counted: list[int] = []

        def turn(dispatcher: Dispatcher) -> None:
            try:
                while not over.is_set():
                    dispatcher.tick()
            finally:
                connections.close_all()

        keys = self.ask(bound * 3, milliseconds=1)
        dispatchers = [Dispatcher(executor) for _ in range(2)]
        threads = [threading.Thread(target=turn, args=(one,)) for one in dispatchers]
        for one in threads:
            one.start()
        try:
            deadline = time.monotonic() + self.patience
            while on_their_way() < bound and time.monotonic() < deadline:
                time.sleep(0.01)
            for _ in range(20):
                counted.append(on_their_way())
                time.sleep(0.01)
            self.start()
            while len(outcomes("done")) < len(keys) and time.monotonic() < deadline:
                counted.append(on_their_way())
                time.sleep(0.01)
        finally:
            over.set()
            for one in threads:
                one.join()
            for each in dispatchers:
                each.close()
        assert max(counted) == bound, (
            f"{max(counted)} hints on their way, and the bound is {bound}: {counted}"
        )
        assert outcomes("done") == dict.fromkeys(keys, 1)

    def test_hints_lost_and_doubled_cost_time_and_nothing_else(self) -> None:
        executor = self.make()
        if executor is None:
            pytest.skip("nothing is handed out")
        self.dispatcher(lease=1.0, executor=_Unreliable(executor))
        self.start()
        keys = self.ask(60)
        self.all_done(keys)

    def test_a_failure_is_kept_and_keeps_no_other_from_its_turn(self) -> None:
        self.dispatcher()
        self.start()
        bad, good = self.ask(3, name="bad"), self.ask(20)
        self.until(lambda: outcomes("failed").keys() >= set(bad), "failures")
        self.all_done(good)

    def test_members_killed_in_the_middle_cost_nothing_but_time(self) -> None:
        self.dispatcher(lease=2.0)
        self.start()
        (slow,) = self.ask(1, name="slow", milliseconds=3000)
        self.until(lambda: running(slow), "the slow one to begin")
        self.kill()
        keys = self.ask(10)
        self.start()
        self.all_done([slow, *keys])
        assert outcomes("lost").keys() <= {slow}

    def test_a_broker_that_is_emptied_loses_hints_and_no_refresh(self) -> None:
        if self.dispatcher(lease=1.0) is None:
            pytest.skip("nothing is handed out")
        keys = self.ask(20)
        self.until(lambda: on_their_way() > 0, "hints on their way")
        self.lose_hints()
        self.start()
        self.all_done(keys)

    def test_a_broker_that_is_away_is_waited_for(self) -> None:
        if self.dispatcher(lease=1.0) is None:
            pytest.skip("nothing is handed out")
        self.start()
        self.stop_broker()
        keys = self.ask(20)
        for dispatcher in self._dispatchers:
            dispatcher.tick()
        assert on_their_way() == 0  # none is thought to be with a broker that has it not
        self.start_broker()
        self.all_done(keys)


class _Unreliable:
    """An executor a third of whose hints are lost, and a third doubled."""

    def __init__(self, executor: Executor) -> None:
        self._executor, self._chance = executor, random.Random(24)
        self.name, self.in_flight = executor.name, getattr(executor, "in_flight", None)

    def capacity(self) -> int:
        return self._executor.capacity()

    def submit(self, slot: int, token: int, lane: int) -> None:
        for _ in range(self._chance.choice([0, 1, 2])):
            self._executor.submit(slot, token, lane)


def outcomes(of: str = "") -> Counter[Any]:
    """Count how refreshes of the probe have ended: by key and outcome, or those of one outcome by key."""
    found = Counter(_rows("SELECT key, outcome FROM kck_run WHERE key_base = 'kck_probe'"))
    return Counter({key: count for (key, outcome), count in found.items() if outcome == of}) if of else found


def slots() -> list[tuple[Any, ...]]:
    """Return where the refreshes of the probe stand that are not done."""
    return _rows(
        "SELECT key, token, lease_owner, due_at - clock_timestamp(), attempts, crashes FROM kck_refresh "
        "WHERE key_base = 'kck_probe' AND (want > have OR lease_until IS NOT NULL) LIMIT 10"
    )


def on_their_way() -> int:
    """Count the hints that nobody has followed yet."""
    ((count,),) = _rows(
        "SELECT count(*) FROM kck_refresh WHERE lease_owner = 'dispatch' AND lease_until > clock_timestamp()"
    )
    return int(count)


def listed() -> list[tuple[str, str]]:
    """Return what ``kck status`` lists as workers: the executor of each, and how it learns of what is due."""
    return [(executor, mode) for executor, mode in _rows("SELECT executor, mode FROM kck_worker ORDER BY id")]


def running(key: str) -> bool:
    """Whether somebody computes this product."""
    rows = _rows(
        "SELECT 1 FROM kck_refresh WHERE key = %s AND lease_owner NOT IN ('', 'dispatch') "
        "AND lease_until > clock_timestamp()",
        key,
    )
    return bool(rows)


def _rows(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return list(cursor.fetchall())
