"""Windows of an hour by the clock of a zone: they follow one another, whatever that clock does, in Python as in SQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from kck_flow.timeframe import aligned
from kck_flow.windows import EPOCH, HOUR, Window, as_window

SEASON, SECOND, MICRO = timedelta(days=75), timedelta(seconds=1), timedelta(microseconds=1)
# Of each zone, the last so many turns of its clock.
MOST = 6
HOWE = "Australia/Lord_Howe"


def minute(zone: ZoneInfo, at: datetime) -> timedelta:
    """Return how far behind an hour of UTC those of a zone begin."""
    offset = at.astimezone(zone).utcoffset()
    assert offset is not None
    return offset % HOUR


@cache
def turns() -> dict[str, list[datetime]]:
    """Return when, since 1900, the clocks of zones were put by what is no whole hour; of zones alike, those of one."""
    found: dict[tuple[datetime, ...], str] = {(): ""}
    for name in [HOWE, *sorted(available_timezones())]:
        found.setdefault(tuple(_turns(ZoneInfo(name))), name)
    return {name: list(of) for of, name in found.items() if of}


def _turns(zone: ZoneInfo) -> Iterator[datetime]:
    low = datetime(1900, 1, 1, tzinfo=UTC)
    known = minute(zone, low)
    while low.year < 2040:
        after = low + SEASON
        phase = minute(zone, after)
        if phase != known:
            high = after
            while high - low > SECOND:
                middle = low + (high - low) // SECOND // 2 * SECOND
                low, high = (middle, high) if minute(zone, middle) == known else (low, middle)
            yield high
        low, known = after, phase


def test_hours_of_every_zone_follow_one_another_where_its_clock_is_put_by_minutes() -> None:
    met = 0
    for name, known in turns().items():
        window = Window("hour", name)
        for turn in known[-MOST:]:
            met += 1
            start = window.start_of(turn - 2 * HOUR)
            begins = [start]
            while start < turn + 2 * HOUR:
                end = window.after(start)
                assert start < end <= start + HOUR
                for at in (start, start + MICRO, start + (end - start) / 2, end - MICRO):
                    assert window.start_of(at) == start, (name, at)
                begins.append(start := end)
            assert turn in begins
    assert met > 300


def test_the_hour_in_which_lord_howe_puts_its_clock_is_two() -> None:
    window, turn = Window("hour", HOWE), datetime(2026, 4, 4, 15, tzinfo=UTC)
    begins = [turn - HOUR]
    for _ in range(3):
        begins.append(window.after(begins[-1]))
    assert [(one - turn) / timedelta(minutes=1) for one in begins] == [-60, 0, 30, 90]
    assert window.text_of(turn) == "2026-04-04T15"


@pytest.mark.django_db
def test_sql_tells_the_same_hours_as_python() -> None:
    compared: dict[str, int] = {}
    for name, known in turns().items():
        instants = [
            turn + timedelta(minutes=minutes) + extra
            for turn in known[-MOST:]
            if turn.year >= 1970
            for minutes in (-61, -31, -1, 0, 1, 29, 31, 59, 61)
            for extra in (timedelta(0), MICRO)
        ]
        if not instants:
            continue
        zone = ZoneInfo(name)
        with connection.cursor() as cursor:
            start_sql = Window("hour", name).sql("at")
            cursor.execute(
                "SELECT (extract(epoch FROM at) * 1000000)::bigint, at AT TIME ZONE %s, "
                "(at - '1 hour'::interval) AT TIME ZONE %s, "
                f"(extract(epoch FROM {start_sql}) * 1000000)::bigint FROM unnest(%s::timestamptz[]) AS t (at)",
                [name, name, instants],
            )
            for at, local, before, start in cursor.fetchall():
                at, start = (EPOCH + one * MICRO for one in (at, start))
                # The server may know other clocks than this machine.
                if (local, before) == tuple(
                    one.astimezone(zone).replace(tzinfo=None) for one in (at, at - HOUR)
                ):
                    compared[name] = compared.get(name, 0) + 1
                    assert Window("hour", name).start_of(at) == start, (name, at)
    assert compared[HOWE] == 18 * MOST
    assert len(compared) > 10


@pytest.mark.parametrize(
    ("fine", "coarse", "fits"),
    [
        ("20m", "1h", True),
        ("1h", "20m", False),
        ("1h", "90m", False),
        ("15m", "1d", True),
        ("1d", "36h", False),
    ],
)
def test_which_windows_are_made_of_whole_ones_of_another(fine: str, coarse: str, fits: bool) -> None:
    assert aligned(as_window(fine), as_window(coarse)) is fits


@given(
    st.sampled_from(["UTC", "Etc/GMT+5", "Europe/Berlin", "Asia/Kolkata", HOWE]),
    st.sampled_from(["hour", "day", "week"]),
    st.integers(-300_000, 500_000),
    st.integers(1, 200),
)
def test_windows_of_one_length_are_reckoned_as_they_are_walked(
    zone: str, size: Any, hour: int, number: int
) -> None:
    window = Window(size, zone)
    start = first = window.start_of(EPOCH + hour * HOUR)
    for _ in range(number):
        start = window.after(start)
    step = window.step(first, start)
    if zone in ("UTC", "Etc/GMT+5"):
        assert step is not None
    if step is not None:
        assert start == first + step * number
