"""Intervals of a project's own: how long they are, and what they meet. Row 151 beside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, models, transaction
from django.test.utils import CaptureQueriesContext, isolate_apps
from django.utils.timezone import make_aware

from kck_flow.models import IntervalQuerySet, TimedInterval
from tests.streams.meters.models import Outage

pytestmark = pytest.mark.django_db
T = datetime(2026, 3, 29, tzinfo=UTC)
HOUR = timedelta(hours=1)


def hours(start: float, end: float | None) -> Outage:
    return Outage.objects.create(
        start_at=T + start * HOUR, end_at=T + end * HOUR if end is not None else None
    )


def spans(found: Any) -> list[tuple[float, float | None]]:
    return sorted((after(one.start_at), after(one.end_at) if one.end_at else None) for one in found)


def after(at: datetime) -> float:
    return ((at if at.tzinfo is not None else make_aware(at)) - T) / HOUR


def test_how_long_it_is_the_database_keeps() -> None:
    assert hours(1, 3.5).duration == 2.5 * HOUR
    lasting = hours(4, None)
    assert lasting.duration is None
    Outage.objects.filter(pk=lasting.pk).update(end_at=T + 5 * HOUR + timedelta(microseconds=1))
    lasting.refresh_from_db()
    assert lasting.duration == HOUR + timedelta(microseconds=1)
    assert Outage.objects.aggregate(total=models.Sum("duration"))["total"] == 3.5 * HOUR + timedelta(
        microseconds=1
    )


def test_it_ends_no_sooner_than_it_begins() -> None:
    assert hours(2, 2).duration == timedelta(0)
    with pytest.raises(IntegrityError, match="ends_after"), transaction.atomic():
        hours(2, 1)
    with pytest.raises(ValidationError, match="ends no sooner than it begins"):
        Outage(start_at=T, end_at=T - HOUR).full_clean()


def test_which_are_at_an_instant() -> None:
    hours(0, 2), hours(2, 4), hours(3, None), hours(2, 2)
    assert spans(Outage.objects.at(T + 2 * HOUR)) == [(2, 4)]
    assert spans(Outage.objects.at(T + 3 * HOUR)) == [(2, 4), (3, None)]
    assert spans(Outage.objects.at(T + 4 * HOUR)) == [(3, None)]
    assert spans(Outage.objects.at(T - HOUR)) == []


@pytest.mark.parametrize(("start", "end"), [(start, end) for start in range(7) for end in range(start, 8)])
def test_overlapping_and_within_are_what_they_say_of_whole_hours(start: int, end: int) -> None:
    there = [(0, 2), (2, 4), (3, 3), (3, 6), (5, None), (4, 5)]
    for one in there:
        hours(*one)
    window = set(range(start * 2, end * 2))  # halves of hours, so that an instant has one

    def halves(one: tuple[int, int | None]) -> set[int]:
        first, last = one[0] * 2, (one[1] if one[1] is not None else 50) * 2
        return set(range(first, max(last, first + 1)))

    bounds = T + start * HOUR, T + end * HOUR
    meets = sorted((one for one in there if halves(one) & window), key=str)
    inside = sorted((one for one in there if halves(one) <= window and window), key=str)
    assert sorted(spans(Outage.objects.overlapping(*bounds)), key=str) == meets
    assert sorted(spans(Outage.objects.within(*bounds)), key=str) == inside


def test_how_long_they_lasted() -> None:
    hours(0, 1), hours(0, 2), hours(0, 3), hours(0, None)
    assert spans(Outage.objects.lasting(at_least=2 * HOUR)) == [(0, 2), (0, 3)]
    assert spans(Outage.objects.lasting(at_most=2 * HOUR)) == [(0, 1), (0, 2)]
    assert spans(Outage.objects.lasting(2 * HOUR, 2 * HOUR)) == [(0, 2)]
    assert spans(Outage.objects.lasting()) == [(0, 1), (0, 2), (0, 3)]


def test_queries_go_on_from_each_other() -> None:
    hours(0, 1), hours(0, 5), hours(7, 9)
    with CaptureQueriesContext(connection) as said:
        assert spans(Outage.objects.overlapping(T, T + 6 * HOUR).lasting(2 * HOUR).filter(meter=None)) == [
            (0, 5)
        ]
    assert len(said) == 1


@isolate_apps("tests.streams.meters")
def test_a_model_keeps_what_its_own_meta_says_beside() -> None:
    class Shift(TimedInterval):
        objects = IntervalQuerySet.as_manager()

        class Meta:
            app_label = "meters"
            indexes = [models.Index(fields=["end_at"], name="shift_end")]

    class Night(Shift):
        class Meta:
            app_label = "meters"

    class Seen(Shift):
        class Meta:
            app_label = "meters"
            proxy = True

    assert [index.fields for index in Shift._meta.indexes] == [["end_at"], ["start_at"]]
    assert [type(one) for one in Shift._meta.constraints] == [models.CheckConstraint]
    assert Shift._meta.original_attrs["constraints"] == Shift._meta.constraints
    for child in (Night, Seen):  # their intervals stand in the table of the parent
        assert not child._meta.constraints
    assert {one.name for one in Outage._meta.constraints} == {"outage_once", "kck_f6545a4a5e8f_ends_after"}
