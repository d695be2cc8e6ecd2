"""The async twins: they wait in asyncio, compute in the pool, and never block the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connections, transaction
from django.test import TestCase

from kck_flow import Cache, IntegerParameter, On, Primer
from kck_flow.errors import ComputeFailed, NotPrimed, SomeFailed, UnknownPrimer, VersionMismatch, WaitTimeout
from kck_flow.models import DataProduct, Edge, Run
from kck_flow.testing import assert_computes, count_computes, registered, run_worker
from tests.core.conftest import Declared, Gate
from tests.shop.models import Author, Customer, Order

cache = Cache.get_instance()


class Held(Primer):
    """Stops where the test says so."""

    key_base = "async_held"
    parameters = [IntegerParameter("n", default=0)]
    gate: Gate | None = None

    def compute(self, key: Any) -> Any:
        if type(self).gate is not None:
            type(self).gate.stop()
        return key.params["n"] + 1


class Failing(Primer):
    key_base = "async_failing"

    def compute(self, key: Any) -> Any:
        raise OSError("no answer")


class Coroutine(Primer):
    """Computed by a coroutine that asks Django and other products, some of which are coroutines too."""

    key_base = "async_coroutine"
    parameters = [IntegerParameter("n")]

    async def compute(self, key: Any) -> Any:
        n = key.params["n"]
        authors = await Author.objects.acount()
        if n == 0:
            return [authors]
        below, by_gather = await asyncio.gather(
            cache.aget(f"async_coroutine/{n - 1}"), cache.aget_many([f"async_held/{n}"])
        )
        return [authors, *below, *by_gather.values()]


@pytest.fixture(autouse=True)
def products(gate: Gate) -> Iterator[None]:
    with registered(Held, Failing, Coroutine):
        yield
        gate.open()
        Held.gate = None


def run_served(main: Callable[[], Awaitable[Any]]) -> Any:
    """Run a coroutine as an async server does: no sync code waits around it."""

    async def served() -> Any:
        try:
            return await main()
        finally:
            await sync_to_async(connections.close_all)()

    return asyncio.run(served())


@asynccontextmanager
async def ticking() -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """A task that ticks as long as the loop is free; waiting for twenty ticks shows that it is."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    async def goes_on() -> None:
        until = ticks + 20
        while ticks < until:  # noqa: ASYNC110  (turns of the loop are what is counted)
            await asyncio.sleep(0.001)

    ticker = asyncio.create_task(tick())
    try:
        yield goes_on
    finally:
        ticker.cancel()


async def reached(gate: Gate, times: int = 1) -> None:
    """Wait for a compute to come to its gate, without blocking the loop."""
    while times:
        if gate.is_reached():
            times -= 1
        else:
            await asyncio.sleep(0.001)


# -- under a server's loop -----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("run", [run_served, lambda main: async_to_sync(main)()], ids=["served", "called"])
def test_sixty_four_tasks_are_one_compute_and_the_loop_goes_on(run: Callable[..., Any], gate: Gate) -> None:
    Held.gate = gate

    async def main() -> list[Any]:
        async with ticking() as goes_on:
            tasks = [asyncio.create_task(cache.aget("async_held/1")) for _ in range(64)]
            await reached(gate)
            await goes_on()
            # Neither does what is computed stop other reads.
            await cache.aset("any/1", "here")
            assert await cache.aget("any/1") == "here"
            assert await Author.objects.acount() == 0
            assert not any(task.done() for task in tasks)
            gate.open()
            return await asyncio.gather(*tasks)

    with assert_computes(1, "async_held"):
        assert run(main) == [2] * 64


@pytest.mark.django_db(transaction=True)
def test_misses_of_one_call_are_computed_side_by_side(gate: Gate) -> None:
    async def main() -> Any:
        await cache.aget("async_held/0")
        Held.gate = gate
        keys = [f"async_held/{n}" for n in (3, 0, 2, 1)]
        async with ticking() as goes_on:
            many = asyncio.create_task(cache.aget_many([*keys, keys[0]]))
            await reached(gate, 3)
            await goes_on()
            gate.open()
            return await many

    with count_computes("async_held") as computes:
        found = run_served(main)
    assert list(found.items()) == [(f"async_held/{n}", n + 1) for n in (3, 0, 2, 1)]
    assert computes.total == 4


@pytest.mark.django_db(transaction=True)
def test_a_refresh_is_awaited_and_two_are_two_computes_one_after_the_other(gate: Gate) -> None:
    Held.gate = gate

    async def main() -> Any:
        async with ticking() as goes_on:
            first = asyncio.create_task(cache.arefresh("async_held/1"))
            await reached(gate)
            second = asyncio.create_task(cache.arefresh("async_held/1"))
            await goes_on()
            assert not gate.is_reached()
            gate.open()
            return await first, await second

    with assert_computes(2, "async_held"):
        first, second = run_served(main)
    assert (first.value, first.version, second.version, second.state) == (2, 1, 1, "fresh")
    assert list(Run.objects.order_by("id").values_list("outcome", "reason")) == [
        ("done", "manual"),
        ("unchanged", "manual"),
    ]


@pytest.mark.django_db(transaction=True)
def test_the_wait_of_a_reader_ends_the_computation_goes_on(gate: Gate) -> None:
    Held.gate = gate

    async def main() -> Any:
        async with ticking() as goes_on:
            begun = time.monotonic()
            with pytest.raises(WaitTimeout, match=r"^Waited 0\.2 s for 'async_held/1'"):
                await cache.aget("async_held/1", wait=timedelta(seconds=0.2))
            assert 0.2 <= time.monotonic() - begun < 5
            await goes_on()
            gate.open()
            return await cache.aget("async_held/1")

    with assert_computes(1, "async_held"):
        assert run_served(main) == 2


@pytest.mark.django_db(transaction=True)
def test_a_task_that_is_cancelled_takes_the_computation_from_nobody(gate: Gate) -> None:
    Held.gate = gate

    async def main() -> Any:
        gone = asyncio.create_task(cache.aget("async_held/1"))
        await reached(gate)
        stays = asyncio.create_task(cache.aget("async_held/1"))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        gate.open()
        return await stays

    with assert_computes(1, "async_held"):
        assert run_served(main) == 2


@pytest.mark.django_db(transaction=True)
def test_errors_are_the_same_as_those_of_the_sync_calls_and_each_callers_own() -> None:
    async def main() -> Any:
        failed = await asyncio.gather(
            *(cache.aget("async_failing") for _ in range(16)), return_exceptions=True
        )
        assert {type(error) for error in failed} == {ComputeFailed}
        assert len({id(error) for error in failed}) == 16
        assert all("OSError: no answer" in str(error) for error in failed)
        with pytest.raises(UnknownPrimer):
            await cache.aget("asink_held/1")
        with pytest.raises(NotPrimed):
            await cache.aget("async_held/1", prime_on_cache_miss=False)
        assert await cache.aget("async_held/1", "none", prime_on_cache_miss=False) == "none"
        entry = await cache.aget_entry("async_held/1", "none", prime_on_cache_miss=False)
        assert (entry.state, entry.value) == ("empty", "none")
        with pytest.raises(VersionMismatch):
            await cache.aset("any/1", 1, check_version=3)
        with pytest.raises(ValueError, match="duration"):
            await cache.aget("async_held/1", wait=-1)
        with pytest.raises(ComputeFailed):
            await cache.arefresh("async_failing")
        with pytest.raises(SomeFailed) as some:
            await cache.aget_many(["async_held/1", "async_failing", "nobody/1"])
        assert some.value.results == {"async_held/1": 2}
        assert {key: type(error) for key, error in some.value.errors.items()} == {
            "async_failing": ComputeFailed,
            "nobody/1": UnknownPrimer,
        }
        assert await cache.aget_many(["async_failing", "async_held/1"], errors="skip") == {"async_held/1": 2}

    with count_computes("async_failing") as computes:
        run_served(main)
    assert computes.total == 2  # one for all who read, and one that was forced


@pytest.mark.django_db(transaction=True)
def test_what_is_set_unset_and_read_is_what_sync_code_sees() -> None:
    async def main() -> Any:
        entry = await cache.aset("any/1", {"a": 1}, hard_expire=timedelta(hours=1))
        assert (entry.value, entry.version) == ({"a": 1}, 1)
        return await cache.aget_entry("any/1")

    entry = run_served(main)
    assert (entry.key, entry.value, entry.version, entry.state) == ("any/1", {"a": 1}, 1, "fresh")
    assert cache.get("any/1") == {"a": 1}


@pytest.mark.django_db(transaction=True)
def test_a_stale_value_is_served_at_once_and_refreshed_behind(gate: Gate) -> None:
    async def main() -> Any:
        await cache.aset("async_held/1", "old", soft_expire=timedelta(0))
        Held.gate = gate
        async with ticking() as goes_on:
            assert await asyncio.gather(*(cache.aget("async_held/1") for _ in range(10))) == ["old"] * 10
            await reached(gate)
            await goes_on()
            assert await cache.aget("async_held/1") == "old"
            gate.open()
            while await cache.aget("async_held/1") == "old":  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            return await cache.aget("async_held/1")

    with assert_computes(1, "async_held"):
        assert run_served(main) == 2


# -- computes that are coroutines ----------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", ["served", "called", "sync", "worker", "dirty"])
def test_a_compute_may_be_a_coroutine_that_reads_others_that_are(how: str) -> None:
    Author.objects.create(name="Ada")
    expected = [1, 1, 1, 1, 2, 3, 4]
    key = "async_coroutine/3"

    async def main() -> Any:
        return await cache.aget(key)

    with count_computes("async_coroutine") as computes:
        if how == "served":
            assert run_served(main) == expected
        elif how == "called":
            assert async_to_sync(main)() == expected
        elif how == "sync":
            assert cache.get(key) == expected
        elif how == "worker":
            cache.request_refresh(key)
            assert run_worker().outcomes == ["done"]
            assert cache.get(key) == expected
        else:
            with transaction.atomic():
                Author.objects.create(name="Bob")  # seen: it is computed on this connection
                assert cache.get(key) == [2, 2, 2, 2, 2, 3, 4]
            return
    assert computes.total == 4
    assert set(Edge.objects.filter(downstream_key=key).values_list("upstream_key", flat=True)) == {
        "async_coroutine/2",
        "async_held/3",
    }


@pytest.mark.django_db(transaction=True)
def test_an_augmented_product_may_be_computed_by_a_coroutine_in_its_snapshot(gate: Gate) -> None:
    class Total(Primer):
        key_base = "async_total"
        depends_on = [On(Order, then="augment")]

        async def compute(self, key: Any) -> Any:
            first = await Order.objects.acount()
            await sync_to_async(gate.stop)()
            assert await Order.objects.acount() == first  # whatever was committed meanwhile
            return first

        def augment(self, key: Any, value: Any, changes: Any) -> Any:
            return value + sum(bool(c.new) - bool(c.old) for c in changes)

    ada = Customer.objects.create(name="Ada")
    with registered(Total):

        async def main() -> Any:
            total = asyncio.create_task(cache.aget("async_total"))
            await reached(gate)
            await Order.objects.acreate(customer=ada)
            gate.open()
            await total
            return await cache.aget("async_total")

        with assert_computes(1, "async_total"):
            assert run_served(main) == 1
            run_worker()
            assert cache.get("async_total") == 1


@pytest.mark.django_db(transaction=True)
def test_a_coroutine_that_was_cancelled_has_failed_and_its_reader_was_not(
    cache: Cache, declare: Declared
) -> None:
    async def compute(self: Any, key: Any) -> Any:
        raise asyncio.CancelledError

    body = {"key_base": "leaving", "compute": compute, "backoff": timedelta(minutes=1)}
    declare.register(type("Leaving", (Primer,), body))
    for _ in range(2):
        with pytest.raises(ComputeFailed, match="CancelledError"):
            run_served(lambda: cache.aget("leaving"))
    assert Run.objects.get().outcome == "failed"


@pytest.mark.django_db(transaction=True)
def test_a_circle_of_coroutines_is_told_at_once() -> None:
    class Round(Primer):
        key_base = "async_round"
        parameters = [IntegerParameter("n")]

        async def compute(self, key: Any) -> Any:
            return await cache.aget(f"async_round/{(key.params['n'] + 1) % 2}")

    class Itself(Primer):
        key_base = "async_itself"

        async def compute(self, key: Any) -> Any:
            return (await cache.arefresh("async_itself")).value

    with registered(Round, Itself):
        begun = time.monotonic()
        with pytest.raises(ComputeFailed, match="async_round/0 → async_round/1 → async_round/0"):
            run_served(lambda: cache.aget("async_round/0"))
        with pytest.raises(ComputeFailed, match="async_itself → async_itself"):
            run_served(lambda: cache.aget("async_itself"))
        assert time.monotonic() - begun < 5


# -- in the suites of users ----------------------------------------------------------------------------------


class TestAsyncTestCase(TestCase):
    """A plain TestCase with coroutines: everything happens on the test's own connection."""

    def setUp(self) -> None:
        self.declared = registered(Held, Failing, Coroutine)
        self.declared.__enter__()
        self.addCleanup(self.declared.__exit__, None, None, None)

    async def test_reads_computes_and_writes_stand_in_the_tests_transaction(self) -> None:
        await Author.objects.acreate(name="Ada")
        with count_computes("async_coroutine") as computes:
            assert await cache.aget("async_coroutine/1") == [1, 1, 2]
            assert await cache.aget("async_coroutine/1") == [1, 1, 2]
            assert computes.total == 2
            assert (await cache.arefresh("async_coroutine/1")).version == 1
            assert computes.total == 3
        assert await asyncio.gather(*(cache.aget("async_held/5") for _ in range(64))) == [6] * 64
        assert await cache.aget_many(["async_held/5", "async_held/6"]) == {
            "async_held/5": 6,
            "async_held/6": 7,
        }
        entry = await cache.aset("async_held/5", 0)
        assert (entry.version, await cache.aget("async_held/5")) == (2, 0)
        with pytest.raises(ComputeFailed, match="no answer"):
            await cache.aget("async_failing")

        def outside() -> int:
            other = connections["default"].copy()
            try:
                with other.cursor() as cursor:
                    cursor.execute("SELECT count(*) FROM kck_product")
                    return int(cursor.fetchone()[0])
            finally:
                other.close()

        assert await sync_to_async(outside)() == 0
        assert await DataProduct.objects.acount() > 0

    async def test_and_vanish_with_it(self) -> None:
        assert await DataProduct.objects.acount() == 0
        assert await cache.aget("async_held/5", "none", prime_on_cache_miss=False) == "none"
