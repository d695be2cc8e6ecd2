"""Coarse frames and what they are merged from: revised meanwhile, gone, or not complete yet."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections

from kck_flow import Cache
from kck_flow.models import Frame
from kck_flow.streams import frames
from kck_flow.testing import freeze_time, run_worker
from tests.streams.forecast.primers import START, Hourly, Summing, measure

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


def test_backfill_leaves_out_windows_that_are_not_over(declare: Callable[..., Any]) -> None:
    declare(Hourly)
    measure(0, 70, 80)
    with freeze_time(START + timedelta(minutes=90)):
        filled = [str(one.key) for one in frames.backfill("fc_hourly", START, START + 4 * HOUR)]
        assert filled == ["fc_hourly/2026-01-31T10"]
        assert not Frame.objects.filter(end_at__gt=START + timedelta(minutes=90)).exists()
