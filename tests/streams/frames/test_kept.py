"""Frames that are kept for a time: what is older goes, with its records, and is not made again."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command

from kck_flow import Cache
from kck_flow.errors import NotPrimed
from kck_flow.models import Frame, Record
from kck_flow.streams import frames
from kck_flow.testing import freeze_time, run_worker
from tests.streams.forecast import primers
from tests.streams.forecast.primers import measure
from tests.streams.weather.models import HourOfStation

pytestmark = pytest.mark.django_db(transaction=True)
cache = Cache.get_instance()
EVENING = datetime(2026, 1, 31, 22, tzinfo=UTC)


class Kept(primers.Three):
    """Minutes, hours and days, kept for an hour and a half."""

    key_base = "fc_kept"
    retention = timedelta(minutes=90)


class KeptColumns(primers.Columns):
    """In columns of its own, kept for an hour."""

    key_base = "fc_kept_columns"
    retention = timedelta(hours=1)


def pruned(capsys: Any, name: str, *more: str) -> tuple[int, int]:
    capsys.readouterr()
    call_command("kck", "prune", "--product", name, "--format", "json", *more)
    rows = [row for row in json.loads(capsys.readouterr().out) if row["what"] == "frames"]
    return rows[0]["rows"], rows[0]["deleted"]


def test_what_is_older_goes_once_it_is_merged_and_does_not_come_back(
    declare: Callable[..., Any], capsys: Any
) -> None:
    primer = declare(Kept)
    measure(*[minute + 0.5 for minute in range(400)], start=EVENING)
    with freeze_time(EVENING + timedelta(minutes=80)) as clock:
        run_worker(["fc_kept"])
        # The last minutes belong to a day that is not over: it has not merged its hours, nor these their minutes.
        assert pruned(capsys, "fc_kept", "--dry-run") == (0, 0)
        clock.set(EVENING + timedelta(minutes=140))
        run_worker(["fc_kept"])
        clock.set(EVENING + timedelta(minutes=400))
        run_worker(["fc_kept"])
        day = cache.get("fc_kept/1d/2026-01-31")
        assert day == {"n": 120, "sum": 120}
        before = Frame.objects.count()
        found, gone = pruned(capsys, "fc_kept")
        assert 0 < found == gone
        assert Frame.objects.count() == before - gone
        kept = EVENING + timedelta(minutes=310)
        assert not Frame.objects.filter(end_at__lte=EVENING + timedelta(minutes=120)).exclude(
            key__contains="/1d/"
        )
        assert Frame.objects.filter(start_at__gte=kept, key__contains="/1m/").count() > 50
        assert set(Record.objects.values_list("digest", flat=True)) == set(
            Frame.objects.values_list("digest", flat=True)
        )
        with pytest.raises(NotPrimed, match="longer ago than the frames"):
            cache.get("fc_kept/1m/2026-01-31T22:05")
        # Nothing of it is missed: it is neither planned again, nor a lag, nor needed of the stream.
        assert frames.plan("fc_kept").planned == 0
        assert frames.lag("fc_kept").pending == 0
        # Nobody was there at the beginning of the hour in which the kept time begins: it says so.
        assert [frame.complete for frame in Frame.objects.filter(key__contains="/1h/").order_by("key")] == [
            False
        ]
        needed = frames.needs_from(primer, clock())
        assert needed is not None
        assert needed >= kept - primer.lateness
        run_worker(["fc_kept"])
        assert pruned(capsys, "fc_kept") == (0, 0)


def test_columns_of_its_own_go_with_their_frame(declare: Callable[..., Any], capsys: Any) -> None:
    declare(KeptColumns)
    measure(*range(0, 300, 10), start=EVENING)
    with freeze_time(EVENING + timedelta(minutes=125)) as clock:
        run_worker(["fc_kept_columns"])
        clock.set(EVENING + timedelta(minutes=290))
        run_worker(["fc_kept_columns"])
        rows = HourOfStation.objects.count()
        found, gone = pruned(capsys, "fc_kept_columns")
        assert 0 < found == gone < rows
        assert HourOfStation.objects.count() == rows - gone == Frame.objects.count()
