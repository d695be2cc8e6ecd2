"""Windows by the clock of a zone: they follow one another, whatever that clock does, in Python as in SQL."""

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

from kck_flow.cache.history import _steps
from kck_flow.timeframe import aligned
from kck_flow.windowed import StartParameter
from kck_flow.windows import DAY, EPOCH, HOUR, Window, as_window, first_instant

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


@cache
def puts() -> dict[str, list[datetime]]:
    """Return when, from 2000 to 2037, the clocks of zones are put within two hours of a midnight; of zones alike, those
    of one.
    """
    found: dict[tuple[datetime, ...], str] = {(): ""}
    for name in ["America/Havana", "America/Goose_Bay", *sorted(available_timezones())]:
        found.setdefault(tuple(_puts(ZoneInfo(name))), name)
    return {name: list(of) for of, name in found.items() if of}


def _puts(zone: ZoneInfo) -> Iterator[datetime]:
    low = datetime(1999, 12, 1, tzinfo=UTC)
    while low.year < 2037:
        after = low + 10 * DAY
        if (was := low.astimezone(zone).utcoffset()) != after.astimezone(zone).utcoffset():
            high = after
            while high - low > SECOND:
                middle = low + (high - low) // SECOND // 2 * SECOND
                same = middle.astimezone(zone).utcoffset() == was
                low, high = (middle, high) if same else (low, middle)
            shown = {(high + by).astimezone(zone).hour for by in (-SECOND, timedelta(0))}
            if shown & {22, 23, 0, 1}:
                yield high
        low = after


def walked(zone: ZoneInfo, at: datetime) -> tuple[datetime, datetime]:
    """Return the beginning and the date of the day an instant is in, by a walk of minutes: a day begins as soon as the
    clock shows its date.
    """
    minute = (at - 3 * DAY).replace(second=0, microsecond=0)
    latest, begin = minute.astimezone(zone).date(), minute
    while minute <= at:
        if (date := minute.astimezone(zone).date()) > latest:
            latest, begin = date, minute
        minute += timedelta(minutes=1)
    return begin, datetime.combine(latest, datetime.min.time())


AROUND = [
    timedelta(minutes=minutes) for minutes in (-181, -61, -59, -31, -1, 0, 1, 29, 31, 59, 61, 119, 121, 1441)
]


@pytest.mark.parametrize("name", ["America/Havana", "America/Goose_Bay", "America/Santiago", "Pacific/Apia"])
def test_a_day_begins_as_soon_as_the_clock_shows_its_date(name: str) -> None:
    zone, window = ZoneInfo(name), Window("day", name)
    for turn in list(_puts(zone))[-4:]:
        for at in (turn + by for by in AROUND):
            begin, date = walked(zone, at)
            assert (window.start_of(at), window.text_of(begin)) == (begin, date.strftime("%Y-%m-%d")), at


WEEKS = {"week": "monday", "week from Sunday": "sunday", "week from Saturday": "saturday"}


@pytest.fixture
def size(request: Any, settings: Any) -> Any:
    """The size of windows, where weeks begin as it says."""
    settings.KCK_FLOW = {"WEEK_START": WEEKS.get(request.param, "monday")}
    return request.param.split()[0]


SIZES = pytest.mark.parametrize("size", ["day", *WEEKS, "month"], indirect=True)


@SIZES
def test_days_of_every_zone_follow_one_another_where_its_clock_is_put_near_midnight(size: Any) -> None:
    met = 0
    for name, known in puts().items():
        window = Window(size, name)
        spelled = StartParameter({size: window})
        for turn in known[-MOST:]:
            met += 1
            start = window.start_of(turn - 2 * DAY)
            for _ in range(5):
                end = window.after(start)
                assert start < end
                for at in (start, start + MICRO, *(turn + by for by in AROUND), end - MICRO):
                    if start <= at < end:
                        assert window.start_of(at) == start, (name, at)
                assert window.parse(window.text_of(start)) == start
                assert spelled.parse(spelled.to_text(start)) == start
                assert spelled.to_text(start) == start.astimezone(window.zone).strftime("%Y-%m-%d")
                start = end
    assert met > 300


@pytest.mark.once("oldest")
@pytest.mark.django_db
@SIZES
def test_days_begin_in_sql_where_they_do_in_python(size: Any) -> None:
    compared: dict[str, int] = {}
    for name, known in puts().items():
        zone, window = ZoneInfo(name), Window(size, name)
        instants = [
            turn + by + extra
            for turn in (known if size == "day" else known[-MOST:])
            for by in AROUND
            for extra in (timedelta(0), MICRO)
        ]
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT (extract(epoch FROM at) * 1000000)::bigint, at AT TIME ZONE %s, "
                "(at - '1 day'::interval) AT TIME ZONE %s, (at + '1 day'::interval) AT TIME ZONE %s, "
                f"(extract(epoch FROM {window.sql('at')}) * 1000000)::bigint, {window.text_sql(window.sql('at'))} "
                "FROM unnest(%s::timestamptz[]) AS t (at)",
                [name, name, name, instants],
            )
            for told, *shown, start, text in cursor.fetchall():
                at = EPOCH + told * MICRO
                # The server may know other clocks than this machine.
                if shown == [(at + by).astimezone(zone).replace(tzinfo=None) for by in (0 * DAY, -DAY, DAY)]:
                    compared[name] = compared.get(name, 0) + 1
                    assert window.start_of(at) == EPOCH + start * MICRO, (name, at)
                    assert window.text_of(EPOCH + start * MICRO) == text
    assert compared["America/Havana"] > 100
    assert len(compared) > 50


@pytest.mark.parametrize(
    ("named", "begins"), [("monday", "2026-03-09"), ("sunday", "2026-03-08"), ("saturday", "2026-03-07")]
)
def test_weeks_begin_on_the_day_that_the_project_says(settings: Any, named: str, begins: str) -> None:
    settings.KCK_FLOW = {"WEEK_START": named}
    window = Window("week", "America/New_York")
    start = window.start_of(datetime(2026, 3, 11, 12, tzinfo=UTC))
    assert start == Window("day", "America/New_York").day(begins)
    assert (window.after(start) - start) / HOUR == (
        168 if named == "monday" else 167
    )  # clocks were put on the 8th
    assert window.text_of(start) == ("2026-W11" if named == "monday" else begins)
    assert window.parse(begins) == window.parse(window.text_of(start)) == start
    if named != "monday":
        with pytest.raises(
            ValueError, match=f"weeks begin on {named.title()}: write its first day, not '2026-W11'"
        ):
            window.parse("2026-W11")


def test_steps_of_a_day_are_the_windows_of_its_zone(settings: Any) -> None:
    for name, known in puts().items():
        settings.TIME_ZONE = name
        window = Window("day", name)
        for turn in known[-2:]:
            start = window.start_of(turn - 2 * DAY)
            begins = [start]
            while begins[-1] < turn + 2 * DAY:
                begins.append(window.after(begins[-1]))
            steps = _steps(start, begins[-1], "day")
            assert [at.astimezone(UTC) for at in (*(one for one, _ in steps), steps[-1][1])] == begins, name


def test_a_clock_that_is_put_over_a_time_shows_it_for_the_first_time_past_it() -> None:
    for name, wall, instant in (
        ("America/Toronto", "1919-03-31", "1919-03-31T04:30Z"),
        ("Pacific/Apia", "2011-12-30T08", "2011-12-30T10:00Z"),
    ):
        assert first_instant(ZoneInfo(name), datetime.fromisoformat(wall)) == datetime.fromisoformat(instant)


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
