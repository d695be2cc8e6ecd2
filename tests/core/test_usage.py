"""How reads go is counted, by family and hour, whichever thread they are in (feature 228)."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import override_settings

from kck_flow import Cache, Primer, clock
from kck_flow.cache import tallies
from kck_flow.errors import KckFlowError
from kck_flow.store.usage import Usage
from kck_flow.testing import registered, reset

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


class Quick(Primer):
    key_base = "u_quick"

    def compute(self, key: Any) -> int:
        return 1


class Old(Primer):
    """Stale at once."""

    key_base, soft_expire = "u_old", timedelta(microseconds=1)

    def compute(self, key: Any) -> int:
        return 1


class Broken(Primer):
    key_base = "u_broken"

    def compute(self, key: Any) -> int:
        raise RuntimeError("no")


@pytest.fixture(autouse=True)
def products() -> Any:
    reset()
    with registered(Quick, Old, Broken):
        yield
    reset()


def used(key_base: str) -> Usage:
    tallies.tell()
    return Cache.get_instance().usage(clock.now() - HOUR, key_base=key_base).get(key_base, Usage())


def counts(key_base: str) -> tuple[int, int, int, int]:
    told = used(key_base)
    return told.fresh, told.stale, told.missed, told.failed


def test_each_read_is_counted_by_how_it_went() -> None:
    cache = Cache.get_instance()
    for _ in range(3):
        cache.get("u_quick")
    cache.get_entry("u_quick")
    cache.get_many(["u_quick", "u_quick"])
    assert counts("u_quick") == (4, 0, 1, 0)  # two spellings of one key are one read
    for _ in range(2):
        with pytest.raises(KckFlowError):
            cache.get("u_broken")
    assert counts("u_broken") == (0, 0, 0, 2)


def test_what_is_stale_is_counted_as_that() -> None:
    cache = Cache.get_instance()
    cache.get("u_old")
    with override_settings(KCK_FLOW={"REFRESH_IN_PROCESS": False}):
        for _ in range(3):
            cache.get("u_old")
    assert counts("u_old") == (0, 3, 1, 0)


def test_nothing_is_told_twice_and_nothing_is_lost_among_threads() -> None:
    cache = Cache.get_instance()
    cache.get("u_quick")

    def read() -> None:
        try:
            for _ in range(300):
                cache.get("u_quick")
        finally:
            connection.close()

    threads = [threading.Thread(target=read) for _ in range(6)]
    for one in threads:
        one.start()
    while any(one.is_alive() for one in threads):
        tallies.tell()
    for one in threads:
        one.join()
    tallies.tell()
    assert counts("u_quick") == (1800, 0, 1, 0)
    assert counts("u_quick") == (1800, 0, 1, 0)
    assert len(tallies._all) == 1  # threads that have ended, and whose counts are told, are forgotten


def test_who_tells_at_the_same_time_tells_nothing_twice() -> None:
    cache = Cache.get_instance()
    for round_ in range(20):
        cache.get("u_quick")
        tellers = [threading.Thread(target=tallies.tell) for _ in range(4)]
        for one in tellers:
            one.start()
        for one in tellers:
            one.join()
        assert counts("u_quick") == (round_, 0, 1, 0)


def test_reads_that_are_awaited_are_counted_too() -> None:
    async def read() -> None:
        for _ in range(2):
            await Cache.get_instance().aget("u_quick")
        await Cache.get_instance().aget_many(["u_quick"])

    async_to_sync(read)()  # not asyncio.run, whose thread would keep its connection
    assert counts("u_quick") == (2, 0, 1, 0)


def test_what_cannot_be_told_is_told_with_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    Cache.get_instance().get("u_quick")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE kck_usage RENAME TO kck_usage_away")
        try:
            tallies.tell()
        finally:
            cursor.execute("ALTER TABLE kck_usage_away RENAME TO kck_usage")
    assert counts("u_quick") == (0, 0, 1, 0)


def test_a_refresh_tells_its_time_and_what_hits_have_saved() -> None:
    cache = Cache.get_instance()
    cache.get("u_quick")
    for _ in range(4):
        cache.get("u_quick")
    told = used("u_quick")
    assert told.done == 1
    assert told.broken == 0
    assert told.median is not None
    assert told.saved == pytest.approx(4 * told.median)
    assert told.share == 0.8
    with pytest.raises(KckFlowError):
        cache.get("u_broken")
    assert used("u_broken").broken == 1
    assert used("u_broken").saved is None


def test_it_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(tallies, "_due", 0.0)
    monkeypatch.setattr(tallies, "tell", lambda: asked.append(1))
    with override_settings(KCK_FLOW={"COUNT_READS": False}):
        Cache.get_instance().get("u_quick")
    assert not asked
