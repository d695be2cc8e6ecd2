"""Laws of axes: domains and ticks of numbers, and ticks of time on every calendar."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kck_flow.drawing.scales import FURTHEST, STEPS, Step, Times, drawn, linear, time_ticks

FINITE = st.floats(-FURTHEST, FURTHEST)
ZONES = [
    ZoneInfo(name)
    for name in (
        *("UTC", "Europe/Paris", "America/New_York", "America/Santiago", "Asia/Kathmandu"),
        *("Australia/Lord_Howe", "Asia/Beirut", "Pacific/Apia"),
    )
]


@given(st.lists(FINITE, max_size=8), st.booleans(), st.integers(1, 8))
def test_a_domain_holds_its_values_from_tick_to_tick(values: list[float], zero: bool, count: int) -> None:
    found = linear(values, zero=zero, count=count)
    assert found.low < found.high
    assert all(-1e-9 <= found.share(value) <= 1 + 1e-9 for value in values)
    assert not zero or found.low <= 0 <= found.high
    ticks = [float(tick) for tick in found.ticks]
    assert ticks == sorted(set(ticks))
    assert (ticks[0], ticks[-1]) == (found.low, found.high)
    assert 2 <= len(ticks) <= 2 * count + 6


@given(st.lists(FINITE, max_size=8), st.booleans())
def test_steps_are_one_two_two_and_a_half_or_five_times_a_power_of_ten(
    values: list[float], zero: bool
) -> None:
    ticks = [Decimal(tick) for tick in linear(values, zero=zero).ticks]
    steps = {Fraction(b) - Fraction(a) for a, b in pairwise(ticks)}
    assert len(steps) == 1
    step = steps.pop()
    exponent = math.floor(math.log10(step) + 1e-9)
    assert step / Fraction(10) ** exponent in (1, 2, Fraction("2.5"), 5)


@given(st.lists(st.integers(-(10**6), 10**6), max_size=8), st.booleans())
def test_whole_numbers_have_whole_ticks(values: list[int], zero: bool) -> None:
    assert all(isinstance(tick, int) for tick in linear(values, zero=zero).ticks)


@pytest.mark.parametrize(
    ("values", "zero", "ticks"),
    [
        ([3, 17], True, "0 5 10 15 20"),
        ([-5, 3], True, "-6 -4 -2 0 2 4"),
        ([0.1, 0.25], True, "0.00 0.05 0.10 0.15 0.20 0.25"),
        ([5, 5], False, "4 5 6"),
        ([1], True, "0 1"),
        ([], True, "0 1"),
        ([0, 0], False, "0 1"),
        ([4391, 4408], False, "4390 4395 4400 4405 4410"),
    ],
)
def test_ticks_as_one_would_choose_them(values: list[float], zero: bool, ticks: str) -> None:
    assert " ".join(map(str, linear(values, zero=zero).ticks)) == ticks


@pytest.mark.parametrize(
    ("value", "at"),
    [
        (None, None),
        (math.nan, None),
        (math.inf, None),
        (Decimal("NaN"), None),
        (Decimal("sNaN"), None),
        (Decimal("-Infinity"), None),
        ("7", None),
        ({"a": 1}, None),
        (10**400, FURTHEST),
        (Decimal("-1E+9999"), -FURTHEST),
        (Decimal("1E-9999"), 0.0),
        (Decimal("2.5"), 2.5),
        (Fraction(1, 2), 0.5),
        (True, 1.0),
    ],
)
def test_where_a_value_is_drawn(value: object, at: float | None) -> None:
    assert drawn(value) == at


INSTANTS = st.integers(0, 4 * 10**9).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@given(INSTANTS, st.floats(0.5, 40), st.sampled_from(STEPS), st.sampled_from(ZONES), st.integers(0, 6))
def test_ticks_of_time_lie_on_the_calendar(
    start: datetime, steps: float, step: Step, zone: ZoneInfo, week_start: int
) -> None:
    end = start + timedelta(seconds=min(steps * step.seconds, 3e9))
    ticks = time_ticks(start, end, step, zone, week_start)
    instants = [tick.timestamp() for tick in ticks]
    assert instants == sorted(set(instants))
    assert all(start <= tick.astimezone(UTC) <= end for tick in ticks)
    for tick in ticks:
        before = (tick.astimezone(UTC) - timedelta(microseconds=1)).astimezone(zone)
        if step.unit in ("day", "week", "month", "year"):
            assert tick.date() > before.date(), "the day before ends there"
        if step.unit == "week":
            assert (tick.weekday() - week_start) % 7 == 0
        if step.unit in ("month", "year"):
            assert tick.day == 1
            assert step.unit == "month" or tick.month == 1
            assert (tick.year * 12 + tick.month - 1) % (step.number * (12 if step.unit == "year" else 1)) == 0
        if step.unit == "hour" and tick.minute == 0:  # half an hour is skipped on Lord Howe Island
            assert tick.hour % step.number == 0 or before.utcoffset() != tick.utcoffset()


@given(INSTANTS, st.sampled_from(ZONES))
def test_each_day_has_its_tick(start: datetime, zone: ZoneInfo) -> None:
    end = start + timedelta(days=30)
    days = {(start + timedelta(hours=at)).astimezone(zone).date() for at in range(30 * 24)}
    first = start.astimezone(zone)
    if first.time() > datetime.min.time():
        days.discard(first.date())
    assert days <= {tick.date() for tick in time_ticks(start, end, Step("day", 1), zone)}


def test_an_hour_that_comes_twice_has_two_ticks_and_one_left_out_none() -> None:
    zone = ZoneInfo("Europe/Paris")
    autumn = datetime(2026, 10, 24, 23, tzinfo=UTC)
    spring = datetime(2026, 3, 28, 23, tzinfo=UTC)
    hour = Step("hour", 1)
    assert [t.hour for t in time_ticks(autumn, autumn + timedelta(hours=4), hour, zone)] == [1, 2, 2, 3, 4]
    assert [t.hour for t in time_ticks(spring, spring + timedelta(hours=4), hour, zone)] == [0, 1, 3, 4, 5]


def test_the_ends_of_the_calendar_have_no_ticks_beyond() -> None:
    for step in STEPS[-12:]:
        start = datetime(9990, 1, 1, tzinfo=UTC)
        assert len(time_ticks(start, datetime.max.replace(tzinfo=UTC), step, ZoneInfo("Asia/Tokyo"))) < 4000
        start = datetime(1, 1, 1, tzinfo=UTC)
        time_ticks(start, start + timedelta(days=800), step, ZoneInfo("America/New_York"))


@given(INSTANTS, st.floats(1, 1e9), st.floats(0, 1))
def test_places_of_instants_go_both_ways(start: datetime, span: float, share: float) -> None:
    times = Times(start.timestamp(), start.timestamp() + span, 40, 640)
    at = start + timedelta(seconds=span * share)
    assert 40 - 0.01 <= times.x(at) <= 680 + 0.01
    assert abs((times.at(times.x(at)) - at).total_seconds()) < span * 1e-6 + 1e-4
