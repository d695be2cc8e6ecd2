"""``kck frames``, ``kck backfill``, ``kck check --lag``, what the checks say of time frames; frames in a TestCase."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from kck_flow import Cache, TimeFrame
from kck_flow.checks import check_primers
from kck_flow.models import Frame
from kck_flow.refresh.worker import Options, Worker
from kck_flow.registry import registry
from kck_flow.streams import frames
from kck_flow.testing import run_worker
from tests.streams.forecast import primers
from tests.streams.forecast.primers import START, measure

Declare = Callable[..., Any]


def kck(*arguments: str) -> str:
    out = StringIO()
    call_command("kck", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


@pytest.mark.django_db(transaction=True)
def test_frames_are_listed_skipped_and_taken_up(declare: Declare) -> None:
    declare(primers.Hourly)
    measure(0, 70, 130)
    primers.failing.add("fc_hourly/2026-01-31T11")
    run_worker(["fc_hourly"])
    rows = json.loads(kck("frames", "fc_hourly", "--format", "json"))
    assert [(row["key"], row["items"]) for row in rows] == [
        ("fc_hourly/2026-01-31T11", None),
        ("fc_hourly/2026-01-31T10", 1),
    ]
    assert rows[0]["state"] in ("failed", "parked")
    assert rows[1]["state"] == "closed"
    assert "ValueError: no sum" in kck("frames", "fc_hourly", "--state", "failed")
    with pytest.raises(CommandError, match="--skip says why"):
        kck("frames", "--skip", "fc_hourly/2026-01-31T11")
    assert "1 frame skipped" in kck("frames", "--skip", "fc_hourly/2026-01-31T11", "--reason", "broken")
    assert "broken" in kck("frames", "fc_hourly")
    assert "skipped: broken" in kck("explain", "fc_hourly/2026-01-31T11")
    assert "1 frame to be computed" in kck("frames", "--unskip", "fc_hourly/2026-01-31T11")
    (stats,) = json.loads(kck("frames", "fc_hourly", "--stats", "--format", "json"))
    assert (stats["frames"], stats["items"]) == (1, 1)
    assert "fc_hourly" in kck("status")
    with pytest.raises(CommandError, match="no time frame"):
        kck("frames", "book_count")


@pytest.mark.django_db(transaction=True)
def test_lag_is_told_and_bounded(declare: Declare) -> None:
    declare(primers.Hourly)
    measure(0, 190)
    assert json.loads(kck("check", "--lag", "fc_hourly", "--format", "json")) == [
        {"frame": "fc_hourly", "pending": 3, "seconds": 190 * 60, "watermark": "2026-01-31T13:10:00+00:00"}
    ]
    with pytest.raises(SystemExit) as ended:
        kck("check", "--lag", "fc_hourly", "--at-most", "2h")
    assert ended.value.code == 1
    assert "3 frames: 3 computed" in kck(
        "backfill", "fc_hourly", "--from", "2026-01-31T10:00Z", "--to", "2026-01-31T13:00Z"
    )
    kck("check", "--lag", "fc_hourly", "--at-most", "2h")


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_runs_once_plans_first(declare: Declare) -> None:
    declare(primers.Hourly)
    once = Options(products=["fc_hourly"], executor="inline", once=True, quiet=True)
    for hours in (1, 2):
        measure(60 * hours)
        Worker(once).serve()
        assert Frame.objects.filter(state="closed").count() == hours - 1


@pytest.mark.django_db
def test_inside_a_test_case_all_happens_on_its_connection(declare: Declare) -> None:
    declare(primers.Three, primers.Tidy)
    measure(0, 61, 130)
    cache = Cache.get_instance()
    assert cache.get("fc_three/1h/2026-01-31T10") == {"n": 1, "sum": 1}
    run_worker(["fc_tidy"])
    assert cache.get("fc_tidy/2026-01-31T11")["n"] == 1
    assert primers.cleaned == {"fc_tidy/2026-01-31T10": 1, "fc_tidy/2026-01-31T11": 1}
    measure(1)
    frames.tell("fc_tidy", START, START + timedelta(hours=1))
    run_worker(["fc_tidy"])
    assert cache.get_entry("fc_tidy/2026-01-31T10").version == 2
    assert cache.refresh("fc_tidy/2026-01-31T11").version == 1
    assert Frame.objects.filter(key_base="fc_tidy").count() == 2


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"stream": None}, "it has no stream"),
        ({"compute": TimeFrame.compute}, "it has no compute"),
        ({"windows": ["1m", "1h"], "duration": None, "merge": TimeFrame.merge}, "it has no merge"),
        ({"parameters": [{"name": "station"}]}, "it has parameters, and no domain"),
        ({"merges": "title_list", "stream": None}, "which is no other time frame"),
        ({"record_model": primers.Measured}, "record_model is"),
        ({"duration": None}, "it has no size of window"),
        ({"hop": "7h", "duration": "1d"}, "not a whole number of hops"),
        ({"lateness": 5}, "lateness is a timedelta"),
    ],
)
def test_what_is_declared_wrongly_is_told(declare: Declare, attributes: Any, said: str) -> None:
    wrong = type("Wrong", (primers.Summing,), {"key_base": "fc_wrong", "duration": "hour", **attributes})
    registry.register(wrong)
    try:
        told = [one.msg for one in check_primers() if "fc_wrong" in one.msg]
    finally:
        registry.withdraw(wrong)
    assert any(said in text for text in told), told
