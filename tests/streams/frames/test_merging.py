"""Coarse frames and what they are merged from: revised meanwhile, gone, or not complete yet."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections

from kck_flow import Cache
from kck_flow.models import Frame, Record
from kck_flow.store import cursors
from kck_flow.store.session import caller
from kck_flow.streams import frames
from kck_flow.testing import freeze_time, run_worker
from tests.streams.forecast.primers import START, Hourly, Summing, failing, measure
from tests.streams.weather.models import Measured

pytestmark = pytest.mark.django_db(transaction=True)
cache = Cache.get_instance()
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
D0 = datetime(2026, 1, 31, tzinfo=UTC)
merging, go_on = threading.Event(), threading.Event()


class Base(Summing):
    """Hours."""

    key_base, duration = "fc_parts", "hour"


class Coarse(Summing):
    """Days, merged from them."""

    key_base, duration, tz = "fc_whole", "day", "UTC"
    merges = Base
    stream = None
    waits = False

    def merge(self, key: Any, parts: Any) -> Any:
        value = super().merge(key, parts)
        if self.waits:
            merging.set()
            assert go_on.wait(20)
        return value


def test_a_part_that_is_revised_while_it_is_merged_is_merged_again(
    declare: Callable[..., Any], monkeypatch: Any
) -> None:
    declare(Base, Coarse)
    measure(30, 60 * 5, 60 * 25, start=D0)
    run_worker(["fc_parts"])
    merging.clear()
    go_on.clear()
    monkeypatch.setattr(Coarse, "waits", True)

    def other() -> None:
        try:
            run_worker(["fc_whole"])
        finally:
            connections.close_all()

    thread = threading.Thread(target=other)
    thread.start()
    assert merging.wait(20)
    measure(31, start=D0)
    frames.tell("fc_parts", D0, D0 + HOUR)
    run_worker(["fc_parts"])
    monkeypatch.setattr(Coarse, "waits", False)
    go_on.set()
    thread.join(30)
    run_worker(["fc_parts", "fc_whole"])
    assert cache.get("fc_whole/2026-01-31")["n"] == 3


@pytest.mark.parametrize("left", [0, 5])
def test_a_frame_whose_parts_are_gone_keeps_what_it_was(declare: Callable[..., Any], left: int) -> None:
    declare(Base, Coarse)
    measure(*[60 * hour for hour in range(26)], start=D0)
    run_worker(["fc_parts", "fc_whole"])
    assert cache.get("fc_whole/2026-01-31")["n"] == 24
    parts = Frame.objects.filter(key_base="fc_parts", start_at__lt=D0 + timedelta(hours=24 - left))
    parts.delete()
    frames.recompute("fc_whole", D0, D0 + DAY)
    run_worker(["fc_whole"])
    assert cache.get("fc_whole/2026-01-31")["n"] == 24
    assert Frame.objects.get(key="fc_whole/2026-01-31").revision == 1


def test_a_part_whose_record_was_deleted_is_not_there(declare: Callable[..., Any]) -> None:
    declare(Base, Coarse)
    measure(*[60 * hour for hour in range(50)], start=D0)
    run_worker(["fc_parts"])
    # A day that is closed keeps what it was; one that is not is merged of what is there, and is not complete.
    run_worker(["fc_whole"])
    Frame.objects.filter(key="fc_whole/2026-02-01").delete()
    Record.objects.filter(key="fc_whole/2026-02-01").delete()
    Record.objects.filter(key__in=["fc_parts/2026-01-31T05", "fc_parts/2026-02-01T05"]).delete()
    frames.recompute("fc_whole", D0, D0 + DAY)
    frames.plan("fc_whole")
    run_worker(["fc_whole"])
    assert [cache.get_entry(f"fc_whole/2026-{day}").value["n"] for day in ("01-31", "02-01")] == [24, 23]
    assert cache.get_entry("fc_whole/2026-02-01").gaps == ((D0 + DAY, D0 + 2 * DAY),)
    frames.plan("fc_parts")
    run_worker(["fc_parts", "fc_whole"])
    assert (cache.get("fc_whole/2026-02-01")["n"], cache.get_entry("fc_whole/2026-02-01").gaps) == (24, ())
    assert Frame.objects.get(key="fc_whole/2026-01-31").revision == 1


def test_a_part_that_is_what_it_was_before_is_merged_again(declare: Callable[..., Any]) -> None:
    declare(Base, Coarse)
    measure(*[60 * hour for hour in range(26)], start=D0)
    run_worker(["fc_parts", "fc_whole"])
    measure(5, start=D0)
    frames.tell("fc_parts", D0, D0 + HOUR)
    run_worker(["fc_parts", "fc_whole"])
    assert cache.get("fc_whole/2026-01-31")["n"] == 25
    Measured.objects.filter(at=D0 + timedelta(minutes=5)).delete()
    Record.objects.filter(key="fc_parts/2026-01-31", revision=2).delete()
    frames.plan("fc_parts")
    run_worker(["fc_parts", "fc_whole"])
    assert cache.get("fc_whole/2026-01-31")["n"] == 24


def test_a_part_whose_value_is_lost_for_good_takes_none_from_the_coarse(declare: Callable[..., Any]) -> None:
    declare(Base, Coarse)
    measure(*[60 * hour for hour in range(26)], start=D0)
    run_worker(["fc_parts", "fc_whole"])
    Measured.objects.filter(at__lt=D0 + 3 * HOUR).delete()
    cursors.begin(caller("default"), "stream:measured", [0], None, D0 + 3 * HOUR)
    Record.objects.filter(key="fc_parts/2026-01-31T01").delete()
    frames.plan("fc_parts")
    run_worker(["fc_parts"])
    assert Frame.objects.get(key="fc_parts/2026-01-31T01").state == "skipped"
    frames.recompute("fc_whole", D0, D0 + DAY)
    run_worker(["fc_whole"])
    assert cache.get("fc_whole/2026-01-31")["n"] == 24


def older_than_the_first(declare: Callable[..., Any]) -> None:
    """Days that have begun, and items of the day before that came afterwards."""
    declare(Base, Coarse)
    measure(30, 60 * 5, 60 * 25, start=D0)
    run_worker(["fc_parts", "fc_whole"])
    measure(-10, -11, -23 * 60, start=D0)


def test_a_backfill_of_the_coarse_computes_what_it_is_merged_from(declare: Callable[..., Any]) -> None:
    older_than_the_first(declare)
    (filled,) = frames.backfill("fc_whole", D0 - DAY, D0)
    assert (str(filled.key), filled.outcome) == ("fc_whole/2026-01-30", "done")
    entry = cache.get_entry("fc_whole/2026-01-30")
    assert (entry.value["n"], entry.gaps) == (3, ())
    assert Frame.objects.filter(key_base="fc_parts", start_at__lt=D0, state="closed").count() == 24
    # Without them, it stays what it was.
    Frame.objects.filter(key_base="fc_parts", start_at__lt=D0 - HOUR).delete()
    assert cache.refresh("fc_whole/2026-01-30").value["n"] == 3


def test_a_backfill_whose_parts_fail_says_so(declare: Callable[..., Any]) -> None:
    older_than_the_first(declare)
    failing.add("fc_parts/2026-01-30T05")
    (filled,) = frames.backfill("fc_whole", D0 - DAY, D0)
    assert (filled.outcome, "no sum of fc_parts/2026-01-30T05" in str(filled.error)) == ("failed", True)
    assert not cache.is_set("fc_whole/2026-01-30")


def test_what_came_before_the_first_item_is_missed(declare: Callable[..., Any], monkeypatch: Any) -> None:
    monkeypatch.setattr(Coarse, "epoch", D0 - DAY)
    measure(30, 60 * 25, start=D0)
    declare(Base, Coarse)
    frames.plan("fc_parts")
    run_worker(["fc_whole"])
    assert cache.get_entry("fc_whole/2026-01-30").gaps == ()  # there was nothing yet
    Frame.objects.filter(key_base="fc_whole").delete()
    measure(-10, start=D0)
    frames.plan("fc_whole")
    run_worker(["fc_whole"])
    assert cache.get_entry("fc_whole/2026-01-30").gaps == ((D0 - DAY, D0),)


def test_backfill_leaves_out_windows_that_are_not_over(declare: Callable[..., Any]) -> None:
    declare(Hourly)
    measure(0, 70, 80)
    with freeze_time(START + timedelta(minutes=90)):
        filled = [str(one.key) for one in frames.backfill("fc_hourly", START, START + 4 * HOUR)]
        assert filled == ["fc_hourly/2026-01-31T10"]
        assert not Frame.objects.filter(end_at__gt=START + timedelta(minutes=90)).exists()
