"""Whoever deletes what nobody needs may die at any time: what is gone is known, and nothing else is gone. Law 9."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kck_flow import ModelStream, Primer, model_stream
from kck_flow.models import Cursor
from kck_flow.streams import retention
from kck_flow.testing import registered
from tests.harness.locks import wait_until_queued
from tests.harness.points import stop_at
from tests.harness.processes import Crew
from tests.streams.meters.models import Reading, Remark

pytestmark = pytest.mark.django_db(transaction=True)
T = datetime(2026, 3, 1, tzinfo=UTC)
NUMBER, NEEDED = 100, 80


class RtLasting(Primer):
    """Needs the last of them."""

    key_base = "rt_lasting"
    stream = ModelStream(Reading, "taken_at")

    def needs_from(self, now: datetime) -> datetime:
        return T + timedelta(minutes=NEEDED)

    def compute(self, key: Any) -> int:
        return self.stream.count(T, T + timedelta(days=1))


def delete(point: str, step: int) -> int:
    """Delete in small steps; stop within one of them, or behind it."""
    model_stream.PAGE = 7
    real, steps = ModelStream.delete_before, iter(range(1, 1000))

    def deleting(stream: Any, cutoff: datetime) -> int:
        here = next(steps)
        if here == step and point == "before":
            stop_at("here")
        deleted = real(stream, cutoff)
        if here == step and point == "deleted":
            stop_at("here")
        if here == step + 1 and point == "committed":
            stop_at("here")
        return deleted

    ModelStream.delete_before = deleting  # type: ignore[method-assign]
    with registered(RtLasting):
        return retention.prune_source("meters.reading").deleted


@pytest.mark.once("newest")
@pytest.mark.parametrize("step", [1, 2, 6])
@pytest.mark.parametrize("point", ["before", "deleted", "committed"])
def test_who_deletes_is_killed_and_what_is_gone_is_known(crew: Crew, point: str, step: int) -> None:
    readings = Reading.objects.bulk_create(
        [Reading(taken_at=T + timedelta(minutes=number), value=number) for number in range(NUMBER)]
    )
    Remark.objects.bulk_create([Remark(reading=reading) for reading in readings])
    child = crew.spawn(delete, point, step)
    child.wait_for("here")
    child.kill()
    done = 7 * (step if point == "committed" else step - 1)
    since = Cursor.objects.filter(reader="stream:meters.reading").values_list("since", flat=True).first()
    assert sorted(Reading.objects.values_list("value", flat=True)) == list(range(done, NUMBER))
    assert Remark.objects.count() == NUMBER - done
    assert since == (T + timedelta(minutes=done - 1, microseconds=1) if done else None)
    with registered(RtLasting):
        assert retention.prune_source("meters.reading").deleted == NEEDED - done
    assert sorted(Reading.objects.values_list("value", flat=True)) == list(range(NEEDED, NUMBER))
    assert Cursor.objects.get(reader="stream:meters.reading").since == T + timedelta(minutes=NEEDED)


def test_two_that_delete_at_once_delete_each_row_once(crew: Crew) -> None:
    Reading.objects.bulk_create(
        [Reading(taken_at=T + timedelta(minutes=number), value=number) for number in range(NUMBER)]
    )
    first = crew.spawn(delete, "before", 3)
    first.wait_for("here")
    second = crew.spawn(delete, "before", 999)
    wait_until_queued()
    assert Reading.objects.count() == NUMBER - 14
    first.go("here")
    assert first.result() + second.result() == NEEDED
    assert sorted(Reading.objects.values_list("value", flat=True)) == list(range(NEEDED, NUMBER))
