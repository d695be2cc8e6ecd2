"""What a product held: records, series, the value at an instant (feature 40; design §5)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from kck_flow import Cache, IntegerParameter, On, Point, Primer
from kck_flow.cache import history
from kck_flow.errors import NotPrimed, UnknownPrimer
from kck_flow.models import Record
from kck_flow.testing import freeze_time, run_worker
from tests.core.conftest import Declared
from tests.shop.models import Author

pytestmark = pytest.mark.django_db
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_three_refreshes_leave_three_records_with_times_and_values(declare: Declared, cache: Cache) -> None:
    values = iter([1, None, {"z": (1,), "a": 2}])
    declare("page", lambda key: next(values), keep_history=True)
    with freeze_time(NOON) as clock:
        for _ in range(3):
            cache.refresh("page")
            clock.move(minutes=1)
    rows = list(Record.objects.order_by("start_at"))
    # As numbers: without USE_TZ the ORM gives naive local times.
    expected = [(NOON + minutes * MINUTE).timestamp() for minutes in range(3)]
    assert [row.start_at.timestamp() for row in rows] == expected
    assert [row.version for row in rows] == [1, 2, 3]
    assert [row.key for row in rows] == ["page"] * 3
    assert [row.revision for row in rows] == [1, 1, 1]
    points = cache.series("page", NOON, NOON + 10 * MINUTE)
    assert points == [
        Point(NOON, NOON + MINUTE, 1, True),
        Point(NOON + MINUTE, NOON + 2 * MINUTE, None, True),
        Point(NOON + 2 * MINUTE, NOON + 10 * MINUTE, {"z": (1,), "a": 2}, False),
    ]


def test_an_equal_value_is_no_news_and_without_keep_history_nothing_is_kept(
    declare: Declared, cache: Cache
) -> None:
    declare("kept", 1, keep_history=True)
    declare("not", 1)
    for _ in range(3):
        cache.refresh("kept")
        cache.refresh("not")
    assert Record.objects.count() == 1
    with pytest.raises(NotPrimed, match="keep_history"):
        cache.value_at("not", datetime.now(UTC))


def test_whatever_changes_the_value_is_recorded(declare: Declared, cache: Cache) -> None:
    declare(
        "authors",
        lambda key: {"n": Author.objects.count()},
        keep_history=True,
        depends_on=[On(Author, then="augment")],
        augment=lambda self, key, value, changes: {"n": value["n"] + len(changes)},
    )
    with freeze_time(NOON) as clock:
        cache.get("authors")
        clock.move(minutes=1)
        cache.set("authors", {"n": 10})
        clock.move(minutes=1)
        cache.patch("authors", "n", 20)
        clock.move(minutes=1)
        Author.objects.create(name="a")
        run_worker()
    assert list(Record.objects.order_by("id").values_list("value__n", "version")) == [
        (0, 1),
        (10, 2),
        (20, 3),
        (21, 4),
    ]


@pytest.mark.django_db(transaction=True)
def test_a_record_commits_with_its_value_or_vanishes_with_it(declare: Declared, cache: Cache) -> None:
    declare("page", 1, keep_history=True)
    with transaction.atomic():
        cache.set("page", 5)
        transaction.set_rollback(True)
    assert not Record.objects.exists()
    cache.get("page")
    assert Record.objects.count() == 1


def test_two_changes_at_one_instant_are_revisions_and_the_later_one_holds(
    declare: Declared, cache: Cache
) -> None:
    declare("page", 0, keep_history=True)
    with freeze_time(NOON):
        cache.set("page", 1)
        cache.set("page", 2)
    assert list(Record.objects.order_by("id").values_list("revision", flat=True)) == [1, 2]
    assert cache.value_at("page", NOON) == 2
    assert [point.value for point in cache.series("page", NOON, NOON + HOUR)] == [2]


def test_post_record_tells_which(declare: Declared, cache: Cache) -> None:
    told: list[Any] = []
    base = type("Base", (Primer,), {"post_record": lambda self, key, record: told.append((str(key), record))})
    declare("page", 1, base=base, keep_history=True)
    cache.get("page")
    cache.set("page", 2)
    assert told == [("page", row.pk) for row in Record.objects.order_by("id")]


# -- the value at an instant


def test_the_value_at_an_instant_is_that_of_the_last_change_up_to_it(declare: Declared, cache: Cache) -> None:
    declare("page", 0, parameters=[IntegerParameter("n")], keep_history=True)
    with freeze_time(NOON) as clock:
        cache.set("page/1", "first")
        clock.move(hours=1)
        cache.set("page/1", "second")
        cache.set("page/2", "another")
    assert cache.value_at("page/1", NOON) == "first"
    assert cache.value_at("page/1", NOON + HOUR - timedelta(microseconds=1)) == "first"
    assert cache.value_at("page/1", NOON + HOUR) == "second"
    assert cache.value_at("page/1", NOON + 400 * DAY) == "second"
    assert cache.value_at("page/1", NOON.astimezone(ZoneInfo("Asia/Kathmandu"))) == "first"
    with pytest.raises(NotPrimed, match="Nothing of 'page/1' was recorded by"):
        cache.value_at("page/1", NOON - timedelta(microseconds=1))
    with pytest.raises(ValueError, match="aware"):
        cache.value_at("page/1", datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(UnknownPrimer):
        cache.value_at("unknown/1", NOON)


# -- series


def test_a_series_by_steps_samples_the_last_value_and_a_gap_is_not_a_zero(
    declare: Declared, cache: Cache
) -> None:
    declare("page", 0, keep_history=True)
    with freeze_time(NOON + 90 * MINUTE) as clock:
        cache.set("page", 0)
        clock.move(minutes=10)
        cache.set("page", 5)
        clock.move(minutes=120)
        cache.set("page", 7)
    points = cache.series("page", NOON, NOON + 5 * HOUR, by=HOUR)
    assert [point.value for point in points] == [None, 5, 5, 7, 7]
    assert [(point.start, point.end) for point in points] == [
        (NOON + i * HOUR, NOON + (i + 1) * HOUR) for i in range(5)
    ]
    later = cache.series("page", NOON + 2 * HOUR, NOON + 4 * HOUR, by=HOUR)
    assert [point.value for point in later] == [5, 7], "what held before the range counts"
    changes = cache.series("page", NOON + 2 * HOUR, NOON + 4 * HOUR)
    assert [(point.start, point.value) for point in changes] == [
        (NOON + 2 * HOUR, 5),
        (NOON + 220 * MINUTE, 7),
    ]
    assert cache.series("page", NOON - DAY, NOON) == []


def test_the_start_is_included_and_the_end_is_not(declare: Declared, cache: Cache) -> None:
    declare("page", 0, keep_history=True)
    with freeze_time(NOON) as clock:
        cache.set("page", 1)
        clock.move(hours=1)
        cache.set("page", 2)
    assert [point.value for point in cache.series("page", NOON, NOON + HOUR)] == [1]
    assert [point.value for point in cache.series("page", NOON + HOUR, NOON + 2 * HOUR)] == [2]
    assert [point.value for point in cache.series("page", NOON, NOON + HOUR, by="hour")] == [1]


def test_a_last_step_may_reach_past_the_end_and_is_not_complete(declare: Declared, cache: Cache) -> None:
    declare("page", 0, keep_history=True)
    with freeze_time(NOON):
        cache.set("page", 1)
    points = cache.series("page", NOON, NOON + 90 * MINUTE, by=HOUR)
    assert [(point.end, point.complete) for point in points] == [
        (NOON + HOUR, True),
        (NOON + 2 * HOUR, False),
    ]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("America/New_York", (2026, 3, 8), 23),
        ("America/New_York", (2026, 11, 1), 25),
        ("Europe/Berlin", (2026, 3, 29), 23),
        ("Asia/Tokyo", (2026, 3, 8), 24),
        ("Australia/Lord_Howe", (2026, 4, 5), 24.5),
    ],
)
def test_days_are_those_of_the_projects_zone(
    declare: Declared, cache: Cache, settings: Any, zone: str, day: tuple[int, int, int], hours: float
) -> None:
    settings.TIME_ZONE = zone
    declare("page", 0, keep_history=True)
    start = datetime(*day, tzinfo=ZoneInfo(zone))
    points = cache.series("page", start, start + timedelta(days=2), by="day")
    assert [point.start for point in points] == [start + timedelta(days=i) for i in range(2)]
    assert (points[0].end.astimezone(UTC) - points[0].start.astimezone(UTC)) == timedelta(hours=hours)
    assert {point.value for point in points} == {None}


def test_months_begin_where_the_series_begins_and_do_not_drift(declare: Declared, cache: Cache) -> None:
    declare("page", 0, keep_history=True)
    start = datetime(2026, 1, 31, tzinfo=UTC)
    points = cache.series("page", start, datetime(2026, 6, 1, tzinfo=UTC), by="month")
    assert [point.start.strftime("%m-%d") for point in points] == [
        "01-31",
        "02-28",
        "03-31",
        "04-30",
        "05-31",
    ]


def test_wrong_questions_are_named_errors(declare: Declared, cache: Cache) -> None:
    declare("page", 0, keep_history=True)
    for start, end, says in (
        (NOON, NOON, "before end"),
        (NOON + HOUR, NOON, "before end"),
        (datetime(2026, 1, 1), NOON, "start must be an aware instant"),  # noqa: DTZ001
        (NOON, "tomorrow", "end must be an aware instant"),
    ):
        with pytest.raises(ValueError, match=says):
            cache.series("page", start, end)  # type: ignore[arg-type]
    for by in ("fortnight", timedelta(0), -HOUR):
        with pytest.raises(ValueError, match="by must be"):
            cache.series("page", NOON, NOON + HOUR, by=by)


@settings(deadline=None, max_examples=100)
@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001
    st.timedeltas(timedelta(seconds=1), timedelta(days=800)),
    st.sampled_from(["day", "week", "month", "year", timedelta(hours=7), timedelta(days=1)]),
    st.sampled_from(["UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia"]),
)
def test_steps_cover_the_range_without_gap_or_overlap(
    naive: datetime, long: timedelta, by: Any, zone: str
) -> None:
    from django.test import override_settings

    start = naive.replace(tzinfo=UTC)
    with override_settings(TIME_ZONE=zone):
        steps = history._steps(start, start + long, by)
    assert steps[0][0].timestamp() == start.timestamp()
    assert steps[-1][1].timestamp() >= (start + long).timestamp() > steps[-1][0].timestamp()
    for one, two in pairwise(steps):
        assert one[1].timestamp() == two[0].timestamp()
        assert one[0].timestamp() < one[1].timestamp()
