"""Frames as they are read: in transactions of every kind, by typed rows, and by asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection, transaction
from django.db.models import QuerySet

from kck_flow import Cache
from kck_flow.errors import ComputeFailed, NotPrimed, WaitTimeout
from kck_flow.models import Frame
from kck_flow.streams import frames
from kck_flow.testing import run_worker
from tests.streams.forecast import primers
from tests.streams.forecast.primers import START, measure
from tests.streams.weather.models import FilledHour, HourOfStation, Wrote

pytestmark = pytest.mark.django_db(transaction=True)
cache = Cache.get_instance()
Declare = Callable[..., Any]
HOUR = timedelta(hours=1)


class Filled(primers.Columns):
    """In columns of which the database fills some in."""

    key_base, record_model = "fc_filled", FilledHour
    grades: list[int] = []

    def compute(self, key: Any, items: Any) -> Any:
        total = sum(item.value for item in items)
        return {"total": total, "parts": (total, 1), **({"grade": self.grades[0]} if self.grades else {})}


class Slow(primers.Hourly):
    """Computed once it is let."""

    key_base, wait = "fc_slow", timedelta(seconds=60)
    entered, go_on = threading.Event(), threading.Event()

    def compute(self, key: Any, items: Any) -> Any:
        self.entered.set()
        assert self.go_on.wait(50)
        return super().compute(key, items)


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("primer", [primers.Hourly, primers.Columns])
@pytest.mark.parametrize("how", ["get", "many", "refresh"])
def test_a_miss_in_a_transaction_is_read_as_it_was_committed(
    declare: Declare, level: str, primer: Any, how: str
) -> None:
    declare(primer)
    measure(0, 70, value=3)
    key = f"{primer.key_base}/2026-01-31T10"
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        assert not Frame.objects.exists()  # from here on it sees no more
        if how == "get":
            value = cache.get(key)
        elif how == "many":
            value = cache.get_many([key])[key]
        else:
            value = cache.refresh(key).value
        assert 3 in value.values()
        assert Frame.objects.count() == (1 if level == "READ COMMITTED" else 0)
    assert cache.get(key) == value


@pytest.mark.parametrize("how", ["get", "many", "refresh"])
def test_a_transaction_that_has_written_reads_its_own_truth_and_leaves_no_trace(
    declare: Declare, how: str
) -> None:
    declare(primers.Three, primers.Columns)
    measure(0, 70, value=3)
    run_worker(["fc_three"])
    Frame.objects.filter(key__in=["fc_three/1h/2026-01-31T10", "fc_three/1m/2026-01-31T10:05"]).delete()
    left = Frame.objects.count()
    Wrote.objects.all().delete()
    asks: dict[str, Callable[[str], Any]] = {
        "get": cache.get,
        "many": lambda key: cache.get_many([key])[key],
        "refresh": lambda key: cache.refresh(key).value,
    }
    ask = asks[how]
    with transaction.atomic():
        measure(5, value=4)
        assert ask("fc_three/1m/2026-01-31T10:05") == {"n": 1, "sum": 4}
        assert ask("fc_three/1h/2026-01-31T10") == {"n": 2, "sum": 7}
        assert ask("fc_columns/2026-01-31T10")["total"] == 7
        transaction.set_rollback(True)
    assert (Frame.objects.count(), HourOfStation.objects.count(), Wrote.objects.count()) == (left, 0, 0)
    assert cache.get("fc_three/1h/2026-01-31T10") == {"n": 1, "sum": 3}


def test_what_the_transaction_has_told_is_in_what_it_reads(declare: Declare) -> None:
    declare(primers.Hourly)
    measure(0, 70, value=3)
    run_worker(["fc_hourly"])
    key = "fc_hourly/2026-01-31T10"
    with transaction.atomic():
        measure(5, value=4)
        assert cache.get(key)["sum"] == 3
        frames.tell("fc_hourly", START, START + HOUR)
        assert cache.get(key)["sum"] == cache.get_many([key])[key]["sum"] == 7
        assert cache.get("fc_hourly/2026-01-31T11", None) is None
    entry = cache.get_entry(key)
    assert (entry.value["sum"], entry.state) == (3, "stale")
    run_worker(["fc_hourly"])
    entry = cache.get_entry(key)
    assert (entry.value["sum"], entry.state) == (7, "fresh")


def test_a_failure_of_a_moment_ago_is_told_in_a_transaction_that_has_not_mended_it(declare: Declare) -> None:
    slow = {"key_base": "fc_once", "retries": 0, "backoff": HOUR}
    declare(type("Once", (primers.Hourly,), slow))
    measure(0, 70)
    key = "fc_once/2026-01-31T10"
    primers.failing.add(key)
    run_worker(["fc_once"])
    with transaction.atomic():
        measure(5)
        with pytest.raises(ComputeFailed, match="it is parked"):
            cache.get(key)
        primers.failing.clear()
        frames.tell("fc_once", START, START + HOUR)
        assert cache.get(key)["n"] == 2
    assert primers.computed[key] == 2


def test_columns_that_the_database_fills_in(declare: Declare) -> None:
    declare(Filled)
    measure(0, 70, value=3)
    run_worker(["fc_filled"])
    key = "fc_filled/2026-01-31T10"

    def held() -> list[tuple[Any, ...]]:
        rows = QuerySet(FilledHour).filter(key=key).order_by("revision")
        return list(rows.values_list("revision", "total", "twice", "grade", "current"))

    value = cache.get(key)
    assert (value["total"], value["twice"], value["grade"], value["parts"]) == (3, 6, 3, [3, 1])
    assert None not in (value["put_at"], value["made_at"])
    for grades in ([], [3], [4], [4], []):
        Filled.grades[:] = grades
        assert cache.refresh(key).value["grade"] == (grades or [3])[0]
    assert held() == [(1, 3, 6, 3, False), (2, 3, 6, 4, False), (3, 3, 6, 3, True)]
    with transaction.atomic():
        measure(1, value=4)
        assert (cache.refresh(key).value["twice"], cache.get("fc_filled/2026-01-31T11", None)) == (14, None)
    run_worker(["fc_filled"])
    assert held()[3:] == [(4, 7, 14, 3, True)]
    QuerySet(FilledHour).delete()
    frames.plan("fc_filled")
    run_worker(["fc_filled"])
    assert held() == [(1, 7, 14, 3, True)]


def test_asyncio_waits_for_a_missing_frame_and_the_thread_of_all_sync_code_does_not(declare: Declare) -> None:
    declare(Slow)
    measure(0, 70, 130)
    keys = ["fc_slow/2026-01-31T10", "fc_slow/2026-01-31T11"]

    async def read() -> None:
        Slow.entered.clear()
        Slow.go_on.clear()
        try:
            asked = [asyncio.create_task(cache.aget(keys[0])) for _ in range(8)]
            asked.append(asyncio.create_task(cache.aget_many(keys)))
            assert await asyncio.to_thread(Slow.entered.wait, 20)
            assert await asyncio.wait_for(sync_to_async(lambda: "free")(), 20) == "free"
            with pytest.raises(WaitTimeout):
                await cache.aget(keys[0], wait=0.01)
        finally:
            Slow.go_on.set()
        *values, many = await asyncio.gather(*asked)
        assert values == [{"n": 1, "sum": 1}] * 8
        assert many == {key: {"n": 1, "sum": 1} for key in keys}
        values[0]["n"] = "mine"
        assert "mine" not in values[1].values()
        assert (await cache.aget_entry(keys[0])).version == 1
        assert await cache.aget("fc_slow/2026-01-31T12", "open") == "open"

    async_to_sync(read)()
    assert set(primers.computed.values()) == {1}


def test_what_an_async_read_of_a_frame_raises_is_what_a_sync_one_does(declare: Declare) -> None:
    declare(type("Quick", (primers.Hourly,), {"key_base": "fc_quick", "backoff": HOUR}))
    measure(0, 70, 130)
    keys = ["fc_quick/2026-01-31T10", "fc_quick/2026-01-31T11", "fc_quick/2026-01-31T12"]
    primers.failing.add(keys[0])

    async def read() -> None:
        told = await cache.aget_many(keys, errors="return")
        assert [type(one) for one in told.values()] == [ComputeFailed, dict, NotPrimed]
        with pytest.raises(ComputeFailed, match="no sum of"):
            await cache.aget(keys[0])
        with pytest.raises(ComputeFailed, match="no sum of"):
            await cache.arefresh(keys[0])
        primers.failing.clear()
        assert (await cache.arefresh(keys[0])).value == {"n": 1, "sum": 1}
        assert await sync_to_async(cache.get)(keys[0]) == {"n": 1, "sum": 1}

    async_to_sync(read)()
