"""What goes on beside frames that are in somebody's hands, given up or set aside; and streams that stand still."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from kck_flow import Cache, ModelStream
from kck_flow.cache import horizon
from kck_flow.errors import NotPrimed
from kck_flow.models import Frame, Record, Refresh
from kck_flow.store.session import caller
from kck_flow.streams import frames
from kck_flow.testing import run_worker
from tests.core.conftest import threads  # noqa: F401
from tests.streams.forecast import primers
from tests.streams.forecast.primers import START, measure
from tests.streams.weather.models import Measured

pytestmark = pytest.mark.django_db(transaction=True)

cache = Cache.get_instance()
Declare = Callable[..., Any]
HOUR = timedelta(hours=1)


def states(name: str) -> list[str]:
    return list(Frame.objects.filter(key_base=name).order_by("start_at").values_list("state", flat=True))


class Few(primers.Summing):
    """Two frames in the queue at a time, each tried once."""

    key_base, duration, max_pending, retries = "fb_few", "hour", 2, 0


def test_frames_that_are_parked_keep_no_others_from_being_planned(declare: Declare) -> None:
    declare(Few)
    measure(*range(0, 361, 60))
    primers.failing.update({"fb_few/2026-01-31T10", "fb_few/2026-01-31T11"})
    run_worker(["fb_few"])
    assert states("fb_few") == ["planned"] * 2 + ["closed"] * 4
    assert Refresh.objects.filter(key_base="fb_few").exclude(parked_at=None).count() == 2


SKIPPED = "fb_given_up/2026-01-31T11"


class GivenUp(primers.Summing):
    """One of its frames is given up while it is computed."""

    key_base, duration = "fb_given_up", "hour"
    given_up: list[str]

    def compute(self, key: Any, items: Any) -> Any:
        if key == SKIPPED and not self.given_up:
            self.given_up.append(key)
            assert frames.skip(key, "it takes for ever")
        return super().compute(key, items)


def test_a_frame_that_is_given_up_while_it_is_computed_stays_so(declare: Declare) -> None:
    GivenUp.given_up = []
    primer = declare(GivenUp)
    measure(0, 60, 120, 180)
    for _ in range(2):
        run_worker(["fb_given_up"])
        assert states("fb_given_up") == ["closed", "skipped", "closed"]
    assert primers.computed[SKIPPED] == 1
    assert not Record.objects.filter(key=SKIPPED).exists()
    with pytest.raises(NotPrimed, match="skipped: it takes for ever"):
        cache.get(SKIPPED)
    assert primer.needs_from(datetime.now(UTC)) == START + 3 * HOUR
    assert frames.lag("fb_given_up").pending == 0
    # Taken up again, it is computed as any other.
    assert frames.unskip(SKIPPED)
    run_worker(["fb_given_up"])
    assert cache.get(SKIPPED) == {"n": 1, "sum": 1}


class ByTheClock(primers.Summing):
    """Of a stream that moves by the clock, and is quiet at once."""

    key_base, duration = "fb_by_the_clock", "hour"
    stream = ModelStream("weather.Measured", at="at", name="fb_measured", watermark="now")
    quiet = timedelta(microseconds=1)


def test_what_is_still_open_holds_back_a_stream_however_quiet_it_is(
    declare: Declare,
    threads: Any,  # noqa: F811
) -> None:
    primer = declare(ByTheClock)
    measure(0)
    written, end = threading.Event(), threading.Event()

    def write_late() -> None:
        with transaction.atomic():
            Measured.objects.update(value=2)
            written.set()
            assert end.wait(20)

    def watermark() -> datetime:
        found = horizon.look(primer, {}, "default", session=caller("default")).watermark
        assert found is not None
        return found

    thread = threads(write_late)
    assert written.wait(20)
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        open_at = cursor.fetchone()[0]
    assert watermark() < open_at
    end.set()
    thread.result()
    assert watermark() >= open_at
