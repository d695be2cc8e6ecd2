"""What a family is told in a transaction: it holds with the commit, and not before."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections, transaction

from kck_flow import Cache, ModelStream
from kck_flow.changes.drain import drain
from kck_flow.models import Frame, Pending
from kck_flow.store import private
from kck_flow.streams import frames
from kck_flow.testing import run_worker
from tests.streams.forecast import primers
from tests.streams.forecast.primers import START, measure
from tests.streams.weather.models import Measured

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "elsewhere"])
cache = Cache.get_instance()
Declare = Callable[..., Any]
HOUR = timedelta(hours=1)
KEY = "fc_hourly/2026-01-31T10"


def another_process_works(name: str) -> None:
    """Have all that is due done by whoever sees only what is committed."""

    def work() -> None:
        try:
            run_worker([name])
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.parametrize("way", ["tell", "recompute", "invalidate", "invalidate family", "request"])
def test_what_is_told_in_a_transaction_holds_with_its_commit(declare: Declare, way: str) -> None:
    declare(primers.Hourly)
    measure(0, 70)
    run_worker(["fc_hourly"])
    tell: dict[str, Callable[[], Any]] = {
        "tell": lambda: frames.tell("fc_hourly", START, START + HOUR),
        "recompute": lambda: frames.recompute("fc_hourly", START, START + HOUR),
        "invalidate": lambda: cache.invalidate(KEY),
        "invalidate family": lambda: cache.invalidate(key_base="fc_hourly"),
        "request": lambda: cache.request_refresh(KEY),
    }
    with transaction.atomic():
        measure(5)
        assert tell[way]() in ([KEY], 1, True)
        another_process_works("fc_hourly")
    assert primers.computed[KEY] == 1
    another_process_works("fc_hourly")
    assert (primers.computed[KEY], cache.get_entry(KEY).version, cache.get(KEY)["n"]) == (2, 2, 2)
    assert not Pending.objects.exists()


def test_what_was_rolled_back_was_never_told(declare: Declare) -> None:
    declare(primers.Hourly)
    measure(0, 70)
    run_worker(["fc_hourly"])
    with transaction.atomic():
        frames.tell("fc_hourly", START, START + HOUR)
        transaction.set_rollback(True)
    run_worker(["fc_hourly"])
    assert primers.computed[KEY] == 1


def test_late_items_are_counted_with_the_commit(declare: Declare) -> None:
    declare(type("Counted", (primers.Counting,), {"key_base": "fc_counted", "corrections": timedelta(0)}))
    measure(0, 75)
    run_worker(["fc_counted"])
    with transaction.atomic():
        measure(40, 41)
        assert frames.tell("fc_counted", START, START + HOUR, late=2) == ["fc_counted/2026-01-31T10"]
        another_process_works("fc_counted")
        assert Frame.objects.get(key_base="fc_counted").late == 0
    run_worker(["fc_counted"])
    run_worker(["fc_counted"])
    frame = Frame.objects.get(key_base="fc_counted")
    assert (frame.late, frame.revision) == (2, 1)


def test_a_family_is_woken_with_the_commit(declare: Declare) -> None:
    declare(primers.Hourly)
    measure(0)
    run_worker(["fc_hourly"])
    with transaction.atomic():
        measure(70)
        frames.wake("fc_hourly")
        another_process_works("fc_hourly")
    assert not Frame.objects.exists()
    run_worker(["fc_hourly"])
    assert Frame.objects.get(key=KEY).state == "closed"


@pytest.mark.parametrize("known", [True, False])
def test_the_transaction_may_be_in_the_database_of_the_stream(
    declare: Declare, settings: Any, known: bool
) -> None:
    settings.KCK_FLOW = {"DATABASES": ["default", "elsewhere"] if known else ["default"]}
    stream = ModelStream("weather.Measured", at="at", name="measured", watermark="latest", using="elsewhere")
    declare(type("Afar", (primers.Hourly,), {"key_base": "fc_afar", "stream": stream, "database": "default"}))
    measure(0, 70)
    run_worker(["fc_afar"])
    with transaction.atomic(using="elsewhere"):
        Measured.objects.using("elsewhere").create(at=START)
        frames.tell("fc_afar", START, START + HOUR)
        another_process_works("fc_afar")
    run_worker(["fc_afar"])
    assert cache.get("fc_afar/2026-01-31T10")["n"] == 2


def test_a_frame_in_hand_is_told_later_and_holds_up_nothing(declare: Declare) -> None:
    declare(primers.Hourly)
    measure(0, 70)
    run_worker(["fc_hourly"])
    with transaction.atomic():
        frames.tell("fc_hourly", START, START + HOUR)
        cache.request_refresh("fc_hourly/2026-01-31T10")
    with transaction.atomic():
        Frame.objects.select_for_update().get(key=KEY)
        with private.session("default") as session:
            assert drain(session).marks == 1
    assert Pending.objects.get().kind == "told"
    run_worker(["fc_hourly"])
    assert not Pending.objects.exists()
    assert primers.computed[KEY] == 2
