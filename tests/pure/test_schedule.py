"""Laws and stories of schedules. The oracle walks the minutes of a zone's clock and knows nothing of ours."""

# ruff: noqa: DTZ001  # a wall time has no zone: that is what is tested

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from functools import cache
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from dateutil import tz as dateutil_tz
from dateutil.rrule import (
    DAILY,
    HOURLY,
    MINUTELY,
    MO,
    MONTHLY,
    SECONDLY,
    TU,
    WEEKLY,
    YEARLY,
    rrule,
    rruleset,
    rrulestr,
)
from django.test import override_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from kck_flow.errors import DeclarationError
from kck_flow.schedule import Cron, Every, Rule, Schedule, as_schedule, cron, every, rule

FULL = os.environ.get("KCK_TEST_FULL") == "1"
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def at(text: str, zone: str = "UTC") -> datetime:
    """An aware instant from wall time."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def local(instants: list[datetime], zone: str) -> list[str]:
    return [f"{instant.astimezone(ZoneInfo(zone)):%d %H:%M%z}" for instant in instants]


# --- clock changes ------------------------------------------------------------------------------------------

CLOCK_CHANGES = [
    # fixed times: once on both days
    (
        "30 2 * * *",
        "Europe/Berlin",
        "2026-03-28 12:00",
        "2026-03-30 12:00",
        ["29 03:00+0200", "30 02:30+0200"],
    ),
    (
        "30 2 * * *",
        "Europe/Berlin",
        "2026-10-24 12:00",
        "2026-10-26 12:00",
        ["25 02:30+0200", "26 02:30+0100"],
    ),
    (
        "0,30 2,3 * * *",
        "Europe/Berlin",
        "2026-03-29 00:00",
        "2026-03-29 12:00",
        ["29 03:00+0200", "29 03:30+0200"],
    ),
    (
        "15 2 * * *",
        "Australia/Lord_Howe",
        "2026-10-03 12:00",
        "2026-10-05 12:00",
        ["04 02:30+1100", "05 02:15+1100"],
    ),
    (
        "45 1 * * *",
        "Australia/Lord_Howe",
        "2026-04-04 12:00",
        "2026-04-06 12:00",
        ["05 01:45+1100", "06 01:45+1030"],
    ),
    (
        "30 2 * * *",
        "Pacific/Apia",
        "2011-12-28 12:00",
        "2011-12-31 12:00",
        ["29 02:30-1000", "31 02:30+1400"],
    ),
    ("0 0 30 12 *", "Pacific/Apia", "2011-12-01 00:00", "2012-12-31 00:00", ["30 00:00+1400"]),
    # midnight itself is skipped in Santiago, and 23:00 to midnight repeated
    (
        "0 0 * * *",
        "America/Santiago",
        "2026-09-05 12:00",
        "2026-09-07 12:00",
        ["06 01:00-0300", "07 00:00-0300"],
    ),
    (
        "30 23 * * *",
        "America/Santiago",
        "2026-04-04 12:00",
        "2026-04-06 00:00",
        ["04 23:30-0300", "05 23:30-0400"],
    ),
    (
        "0 0 * * *",
        "America/Santiago",
        "2026-04-04 12:00",
        "2026-04-06 12:00",
        ["05 00:00-0400", "06 00:00-0400"],
    ),
    # a gap that ends at the next day's midnight
    (
        "30 23 * * *",
        "America/Nuuk",
        "2026-03-28 12:00",
        "2026-03-30 00:00",
        ["29 00:00-0100", "29 23:30-0100"],
    ),
    # repeating expressions: as the clock runs
    (
        "*/30 1-2 * * *",
        "Australia/Lord_Howe",
        "2026-04-05 00:00",
        "2026-04-05 12:00",
        ["05 01:00+1100", "05 01:30+1100", "05 01:30+1030", "05 02:00+1030", "05 02:30+1030"],
    ),
    (
        "*/30 2 * * *",
        "Europe/Berlin",
        "2026-03-28 12:00",
        "2026-03-30 12:00",
        ["30 02:00+0200", "30 02:30+0200"],
    ),
    ("* 0 6 9 *", "America/Santiago", "2026-09-05 12:00", "2026-09-07 12:00", []),
]


@pytest.mark.parametrize(("expression", "zone", "after", "until", "expected"), CLOCK_CHANGES)
def test_clock_changes(expression: str, zone: str, after: str, until: str, expected: list[str]) -> None:
    schedule = cron(expression, tz=zone)
    assert local(schedule.between(at(after, zone), at(until, zone)), zone) == expected


@pytest.mark.parametrize(
    ("zone", "day", "runs"),
    [
        ("Europe/Berlin", "2026-10-25", 25),
        ("Europe/Berlin", "2026-03-29", 23),
        ("Australia/Lord_Howe", "2026-04-05", 24),
        ("America/Santiago", "2026-04-04", 25),
        ("America/Santiago", "2026-09-06", 23),
        ("Pacific/Apia", "2011-12-29", 24),
        ("Pacific/Apia", "2011-12-31", 24),
    ],
)
def test_an_hourly_cron_runs_each_hour_the_day_really_has(zone: str, day: str, runs: int) -> None:
    start = at(day, zone)
    end = at(str(date.fromisoformat(day) + DAY), zone)
    assert cron("0 * * * *", tz=zone).count_between(start - MINUTE, end - MINUTE) == runs


def test_asking_from_within_the_second_pass_never_answers_with_the_first() -> None:
    daily = cron("30 2 * * *", tz="Europe/Berlin")
    second_pass = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # 02:10 for the second time
    assert daily.next(second_pass) == at("2026-10-26 02:30", "Europe/Berlin")
    assert daily.previous(second_pass) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


# --- cron against an oracle ---------------------------------------------------------------------------------

DAYS = {"SUN": 0, "MON": 1, "TUE": 2, "WED": 3, "THU": 4, "FRI": 5, "SAT": 6}
START, END = datetime(2024 if FULL else 2026, 1, 1), datetime(2027, 1, 1)  # wall times of no zone
MARGIN = 3 * DAY
ORIGIN = START - MARGIN
MINUTES = (END - START + 2 * MARGIN) // MINUTE


def oracle_field(text: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        if span == "*":
            first, last = low, high
        else:
            begin, _, end = span.partition("-")
            first = DAYS[begin] if begin in DAYS else int(begin)
            last = (DAYS[end] if end in DAYS else int(end)) if end else (high if step else first)
        found.update(range(first, last + 1, int(step or 1)))
    return found


@cache
def oracle_walls(expression: str) -> bytes:
    """One byte for each wall minute from ORIGIN on: 1 where the expression matches."""
    minute, hour, day, month, weekday = expression.split()
    minutes, hours = oracle_field(minute, 0, 59), oracle_field(hour, 0, 23)
    days, months = oracle_field(day, 1, 31), oracle_field(month, 1, 12)
    weekdays = {number % 7 for number in oracle_field(weekday, 0, 7)}
    on = bytes(int(m % 60 in minutes and m // 60 in hours) for m in range(1440))
    both = day.startswith("*") or weekday.startswith("*")
    walls = bytearray()
    for number in range(MINUTES // 1440):
        today = ORIGIN.date() + number * DAY
        by_day, by_weekday = today.day in days, today.isoweekday() % 7 in weekdays
        matches = (by_day and by_weekday) if both else (by_day or by_weekday)
        walls += on if matches and today.month in months else bytes(1440)
    return bytes(walls)


@cache
def oracle_stretches(zone: str) -> tuple[tuple[int, int], ...]:
    """(UTC minute from ORIGIN, offset in minutes) wherever the offset changes, looking every 15 minutes."""
    tz, found, last = ZoneInfo(zone), [], None
    for quarter in range(0, MINUTES, 15):
        offset = (ORIGIN.replace(tzinfo=UTC) + quarter * MINUTE).astimezone(tz).utcoffset()
        assert offset is not None
        if offset != last:
            found.append((quarter, offset // MINUTE))
            last = offset
    return tuple(found)


def oracle(expression: str, stretches: tuple[tuple[int, int], ...]) -> Iterator[int]:
    """Yield the UTC minutes from ORIGIN at which the cron runs, by walking the wall clock."""
    walls = oracle_walls(expression)
    minute, hour = expression.split()[:2]
    repeating = minute.startswith("*") or hour.startswith("*")
    shown = None  # the furthest that the wall clock has come, exclusive
    for (begin, offset), (end, _) in pairwise((*stretches, (MINUTES, 0))):
        first, last = max(begin + offset, 0), min(end + offset, MINUTES)
        if repeating:
            where = walls.find(1, first, last)
            while where >= 0:
                yield where - offset
                where = walls.find(1, where + 1, last)
            continue
        if shown is not None and first > shown:  # skipped: made up for now, unless a whole day is gone
            if first - shown < 1440 and walls.find(1, shown, first) >= 0 and not walls[first]:
                yield first - offset
        elif shown is not None:
            first = shown  # repeated: these have had their turn
        where = walls.find(1, first, last)
        while where >= 0:
            yield where - offset
            where = walls.find(1, where + 1, last)
        shown = max(shown or 0, last)


def expressions() -> list[str]:
    fixed = [
        "30 2 * * *",
        "0 0 * * *",
        "0,30 2,3 * * *",
        "59 23 * * *",
        "0 1 1 * *",
        "15 1-3 * * SUN",
        "0 0 29 2 *",
    ]
    repeating = [
        "0 * * * *",
        "*/30 * * * *",
        "* 2 * * *",
        "45 * * * *",
        "*/7 */5 * 3,10 *",
        "0 */2 * * MON-FRI",
    ]
    either = ["0 3 13 * FRI", "10 2 */2 * 1-5", "5 0 1-7 * SUN", "30 1 31 * *", "* * 29 3,10 *"]
    known = [*fixed, *repeating, *either]
    if not FULL:
        return known
    chance = random.Random(14)

    def part(low: int, high: int, *, star: float) -> str:
        kind = chance.random()
        if kind < star:
            return chance.choice(["*", "*", f"*/{chance.randint(2, 7)}"])
        first = chance.randint(low, high)
        if kind < star + (1 - star) / 2:
            return str(first)
        if kind < star + (1 - star) * 0.75:
            return ",".join(str(chance.randint(low, high)) for _ in range(3))
        return f"{first}-{chance.randint(first, high)}"

    while len(known) < 200:
        expression = " ".join(
            [
                part(0, 59, star=0.15),
                chance.choice([part(0, 23, star=0.2), part(0, 4, star=0), part(0, 4, star=0)]),
                part(1, 28, star=0.7),
                part(1, 12, star=0.8),
                part(0, 6, star=0.7),
            ]
        )
        if expression not in known:
            known.append(expression)
    return known


SAMPLE_ZONES = [
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/Santiago",
    "America/Havana",
    "America/Nuuk",
    "America/Scoresbysund",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Kathmandu",
    "Asia/Gaza",
    "Antarctica/Troll",
    "Pacific/Chatham",
    "Asia/Beirut",
    "America/Asuncion",
    "Asia/Almaty",
]


def zones() -> list[str]:
    """The zones, one for each behaviour within the years looked at; a schedule sees no more of a zone."""
    names = sorted(available_timezones() - {"localtime", "Factory"}) if FULL else SAMPLE_ZONES
    return list({oracle_stretches(name): name for name in names}.values())


DENSE = 20_000  # runs in three years beyond which only the days around changes, and some others, are compared


@pytest.mark.once("newest")
def test_crons_run_when_the_oracle_says() -> None:
    chance = random.Random(48)
    compared = 0
    for zone in zones():
        stretches = oracle_stretches(zone)
        for expression in expressions():
            schedule = cron(expression, tz=zone)
            expected = list(oracle(expression, stretches))
            if len(expected) <= (DENSE if FULL else 1500):
                spans = [(0, MINUTES)]
            else:
                middles = [begin for begin, _ in stretches] + [chance.randrange(MINUTES) for _ in range(3)]
                spans = [(middle - 1440, middle + 1440) for middle in middles]
            for begin, end in spans:
                # Within the margin, the oracle does not know what the clock showed before.
                begin, end = max(begin, MARGIN // MINUTE), min(end, MINUTES - MARGIN // MINUTE)
                if begin >= end:
                    continue
                wanted = expected[bisect_right(expected, begin) : bisect_right(expected, end)]
                got = schedule.between(minute(begin), minute(end))
                assert got == list(map(minute, wanted)), f"{expression} in {zone}"
                assert all(a < b for a, b in pairwise(got)), f"{expression} in {zone}"
                compared += len(got)
            # Asked from anywhere, near the changes above all: next and previous agree with the same list.
            for _ in range(2):
                begin, _offset = chance.choice(stretches)
                asked = min(
                    max(begin + chance.randint(-200, 200), MARGIN // MINUTE), MINUTES - MARGIN // MINUTE
                )
                place = bisect_right(expected, asked)
                if place < len(expected):
                    assert schedule.next(minute(asked)) == minute(expected[place]), f"{expression} in {zone}"
                    assert schedule.next(minute(expected[place]) - timedelta(microseconds=1)) == minute(
                        expected[place]
                    )
                if place > 0 and expected[place - 1] > MARGIN // MINUTE:
                    last = minute(expected[place - 1])
                    assert schedule.previous(minute(asked) + timedelta(seconds=5)) == last, (
                        f"{expression} in {zone}"
                    )
                    assert schedule.previous(last) == last
    print(f"{compared} runs compared")
    assert compared > 10_000


def minute(number: int) -> datetime:
    return ORIGIN.replace(tzinfo=UTC) + number * MINUTE


@pytest.mark.parametrize(
    "zone", ["Pacific/Apia", "Pacific/Kwajalein", "Africa/Monrovia", "Europe/Dublin", "Asia/Manila"]
)
@pytest.mark.parametrize("expression", ["30 2 * * *", "* * * * *", "0 0 1 1 *", "*/20 */3 * * *"])
@given(number=st.integers(-(10**9) * 4, 10**9 * 4))
@settings(deadline=None, max_examples=25)
def test_odd_zones_and_old_times_keep_the_order(zone: str, expression: str, number: int) -> None:
    schedule = cron(expression, tz=zone)
    after = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
    instants = list(islice(schedule._walk(after), 5))
    assert all(a < b for a, b in pairwise([after, *instants]))
    for earlier, later in pairwise(instants):
        assert schedule.next(earlier) == later
        assert schedule.previous(later) == later
        assert schedule.previous(later - timedelta(microseconds=1)) == earlier


# --- laws of every schedule ---------------------------------------------------------------------------------

KINDS: list[Schedule] = [
    every(minutes=5),
    every(seconds=2.5),
    every(weeks=1, offset=timedelta(days=4)),
    every(days=1, jitter=0.1),
    cron("30 2 * * *", tz="Europe/Berlin"),
    cron("*/15 9-17 * * MON-FRI", tz="America/New_York", jitter=0.05),
    cron("0 0 L * *", tz="UTC"),
    rule(rrule(DAILY, interval=3, dtstart=datetime(2020, 1, 1, 2, 30)), tz="Europe/Berlin"),
    rule(rrule(HOURLY, interval=7, dtstart=datetime(2020, 1, 1, tzinfo=UTC))),
    rule(rrule(MONTHLY, byweekday=TU(2), dtstart=datetime(2020, 1, 1, 9, tzinfo=ZoneInfo("Asia/Tokyo")))),
    rule(rrule(WEEKLY, count=2000, dtstart=datetime(2020, 1, 1, tzinfo=UTC), byweekday=[MO, TU])),
]
instants = st.datetimes(
    datetime(2020, 6, 1),
    datetime(2025, 1, 1),
    timezones=st.sampled_from([UTC, ZoneInfo("Europe/Berlin")]),
)


@pytest.mark.parametrize("schedule", KINDS, ids=str)
@given(after=instants, length=st.timedeltas(timedelta(0), timedelta(days=40)))
@settings(deadline=None, max_examples=30)
def test_next_previous_between_and_count_are_one_story(
    schedule: Schedule, after: datetime, length: timedelta
) -> None:
    until = after.astimezone(UTC) + min(length, 300 * schedule.period())
    found = schedule.between(after, until)
    assert found == schedule.between(after, until, limit=10**6)
    assert found[:3] == schedule.between(after, until, limit=3)
    assert len(found) == schedule.count_between(after, until)
    assert all(a < b for a, b in pairwise(found))
    assert all(after < one <= until and one.tzinfo is UTC for one in found)
    following = schedule.next(after)
    assert following is not None
    assert following > after
    if found:
        assert found[0] == following
        assert schedule.previous(until) == found[-1]
    else:
        assert following > until
        assert schedule.previous(until) == schedule.previous(after)


@pytest.mark.parametrize("schedule", KINDS, ids=str)
def test_schedules_are_values(schedule: Schedule) -> None:
    again = pickle.loads(pickle.dumps(schedule))
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert again.digest() == schedule.digest()
    assert str(schedule) == schedule.describe()
    with pytest.raises(AttributeError):
        schedule.jitter = 0.1
    assert len({one.digest() for one in KINDS}) == len(KINDS)


@pytest.mark.parametrize("schedule", [*KINDS, every(minutes=1, anchor="finish")], ids=str)
def test_naive_instants_are_refused(schedule: Schedule) -> None:
    naive = datetime(2026, 1, 1)
    aware = naive.replace(tzinfo=UTC)
    for ask in (
        lambda: schedule.next(naive),
        lambda: schedule.previous(naive),
        lambda: schedule.between(naive, aware),
        lambda: schedule.between(aware, naive),
        lambda: schedule.count_between(naive, aware),
        lambda: schedule.jittered(naive, "k"),
    ):
        with pytest.raises(ValueError, match="must be an aware datetime"):
            ask()


def test_digests_are_the_same_in_every_process() -> None:
    script = (
        "from kck_flow.schedule import *; from dateutil.rrule import *; from datetime import *;"
        "print(every(minutes=5).digest(), cron('30 2 * * *','Europe/Berlin').digest(),"
        "rule(rrule(DAILY, dtstart=datetime(2026,1,1)), tz='UTC').digest())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1
    # Written down: a release that changes it makes every product due anew, and must mean to.
    assert every(minutes=5).digest() == "f5c0aac55f9a69e5ff27de9ef941310a"
    assert cron("30 2 * * *", "Europe/Berlin").digest() == "ffca8df73dfa7e2702c77c8d8a37b038"


def test_a_digest_changes_with_the_meaning_and_only_then() -> None:
    base = every(minutes=5)
    assert every(seconds=300).digest() == every(timedelta(minutes=5)).digest() == base.digest()
    assert every(minutes=5, offset=timedelta(minutes=6)).digest() == every(minutes=5, offset=MINUTE).digest()
    others = [
        every(minutes=6),
        every(minutes=5, offset=MINUTE),
        every(minutes=5, anchor="finish"),
        every(minutes=5, jitter=0.1),
        cron("*/5 * * * *", "UTC"),
        cron("*/5 * * * *", "Europe/Paris"),
    ]
    assert len({one.digest() for one in [base, *others]}) == len(others) + 1
    assert cron(" 0  6 * * mon ", "UTC").digest() == cron("0 6 * * MON", ZoneInfo("UTC")).digest()


# --- jitter -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schedule", [every(minutes=10, jitter=0.1), cron("0 * * * *", "UTC", jitter=0.1)], ids=str
)
def test_jitter_spreads_keys_and_keeps_each_in_its_place(schedule: Schedule) -> None:
    instant = at("2026-01-31 12:00")
    following = schedule.next(instant)
    assert following is not None
    moved = [schedule.jittered(instant, f"revenue/{number}") - instant for number in range(1000)]
    most = (following - instant) * 0.1
    assert min(moved) >= timedelta(0)
    assert max(moved) < most
    assert len(set(moved)) > 990
    for tenth in range(10):  # evenly: 100 of 1,000 in each tenth, give or take
        assert 60 < sum(tenth * most / 10 <= one < (tenth + 1) * most / 10 for one in moved) < 145
    key = "revenue/7"
    assert schedule.jittered(following, key) - following == schedule.jittered(instant, key) - instant
    assert every(minutes=10).jittered(instant, key) == instant


@given(after=instants)
def test_jitter_never_changes_the_order(after: datetime) -> None:
    schedule = cron("0,1 3,9 * * *", "Europe/Berlin", jitter=0.1)
    moved = [schedule.jittered(one, "k") for one in islice(schedule._walk(after.astimezone(UTC)), 6)]
    assert moved == sorted(moved)


# --- every --------------------------------------------------------------------------------------------------


def test_every_is_aligned_to_the_epoch_whatever_is_asked_when() -> None:
    five = every(minutes=5)
    assert five.next(at("2026-01-31 12:03:07")) == at("2026-01-31 12:05")
    assert five.next(at("2026-01-31 12:05")) == at("2026-01-31 12:10")
    assert five.previous(at("2026-01-31 12:05")) == at("2026-01-31 12:05")
    mondays = every(weeks=1, offset=timedelta(days=4))
    monday = mondays.next(at("2026-01-31"))
    assert monday == at("2026-02-02")
    assert every(hours=1, offset=timedelta(minutes=65)) == every(hours=1, offset=timedelta(minutes=5))
    assert every(days=1).previous(datetime(1969, 12, 31, 12, tzinfo=UTC)) == datetime(
        1969, 12, 31, tzinfo=UTC
    )


def test_counting_every_second_of_a_century_takes_no_time() -> None:
    assert every(seconds=1).count_between(at("1926-01-01"), at("2026-01-01")) == 36525 * 86400


def test_from_the_end_of_the_run_only_the_next_is_known() -> None:
    after_end = every(minutes=5, anchor="finish")
    finished = at("2026-01-31 12:03:07")
    due = finished + timedelta(minutes=5)
    assert after_end.next(finished) == due
    assert after_end.between(finished, finished + DAY) == [due]
    assert after_end.count_between(finished, finished + DAY) == 1
    assert after_end.count_between(finished, due - MINUTE) == 0
    assert after_end.previous(finished) is None


def test_the_end_of_the_calendar_is_no_crash() -> None:
    last = datetime.max.replace(tzinfo=UTC)
    first = datetime(1, 1, 2, tzinfo=UTC)
    for schedule in [*KINDS, every(days=100_000), every(days=3, anchor="finish")]:
        assert schedule.next(last) is None
        schedule.previous(first)
        schedule.between(last - 3 * HOUR, last, limit=5)


# --- words --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (every(minutes=5), "every 5 minutes"),
        (every(hours=1), "every hour"),
        (every(minutes=90), "every 1 hour 30 minutes"),
        (every(days=10), "every 10 days"),
        (every(weeks=2), "every 2 weeks"),
        (every(seconds=2.5), "every 2.5 seconds"),
        (every(hours=1, offset=timedelta(minutes=5)), "every hour, 5 minutes later"),
        (every(minutes=5, anchor="finish"), "5 minutes after each run ends"),
        (every(minutes=5, jitter=0.05), "every 5 minutes, spread over 5% of the period"),
        (cron("30 2 * * *", tz="Europe/Berlin"), "30 2 * * * in Europe/Berlin"),
        (rule(rrule(DAILY, dtstart=datetime(2026, 1, 1, tzinfo=UTC))), "FREQ=DAILY in UTC"),
    ],
)  # fmt: skip
def test_schedules_describe_themselves(schedule: Schedule, text: str) -> None:
    assert schedule.describe() == text


@pytest.mark.parametrize(
    ("schedule", "period"),
    [
        (every(minutes=5), timedelta(minutes=5)),
        (cron("30 2 * * *", tz="Europe/Berlin"), DAY),
        (cron("0 9-17 * * MON-FRI", tz="UTC"), HOUR),
        (cron("0 0 1 * *", tz="UTC"), 31 * DAY),
        (rule(rrule(WEEKLY, dtstart=datetime(2026, 1, 1, tzinfo=UTC))), 7 * DAY),
        (rule(rrule(DAILY, count=1, dtstart=datetime(2026, 1, 1, tzinfo=UTC))), None),
    ],
)
def test_the_typical_distance(schedule: Schedule, period: timedelta | None) -> None:
    assert schedule.period() == period


# --- declarations -------------------------------------------------------------------------------------------


def test_without_a_zone_the_settings_decide_when_asked() -> None:
    daily = cron("0 6 * * *")
    with override_settings(TIME_ZONE="Europe/Paris"):
        paris = daily.digest()
        assert daily.next(at("2026-01-31")) == at("2026-01-31 06:00", "Europe/Paris")
        assert daily.describe() == "0 6 * * * in Europe/Paris"
    with override_settings(TIME_ZONE="Asia/Tokyo"):
        assert daily.next(at("2026-01-31")) == at("2026-02-01 06:00", "Asia/Tokyo")
        assert daily.digest() != paris


def test_as_schedule_takes_what_a_primer_may_say() -> None:
    assert as_schedule(timedelta(minutes=5)) == every(minutes=5)
    assert isinstance(as_schedule(every(minutes=5)), Every)
    assert isinstance(as_schedule(cron("* * * * *", "UTC")), Cron)
    assert isinstance(as_schedule(rrule(DAILY, dtstart=datetime(2026, 1, 1, tzinfo=UTC))), Rule)


NAIVE = datetime(2026, 1, 1)
BAD: list[tuple[Any, str]] = [
    (lambda: every(), "say how often"),
    (lambda: every(minutes=0), "say how often"),
    (lambda: every(timedelta(0)), "longer than zero"),
    (lambda: every(minutes=-5), "longer than zero"),
    (lambda: every(5), "must be a timedelta"),
    (lambda: every(minutes="5"), "minutes must be a number"),
    (lambda: every(timedelta(1), minutes=5), "not both"),
    (lambda: every(days=10**12), "days=1000000000000"),
    (lambda: every(seconds=float("nan")), "seconds=nan"),
    (lambda: every(minutes=5, anchor="start"), '"nominal"'),
    (lambda: every(minutes=5, anchor="finish", offset=MINUTE), "has none"),
    (lambda: every(minutes=5, offset=5), "offset must be a timedelta"),
    (lambda: every(minutes=5, jitter=0.2), "jitter must be a share from 0 to 0.1"),
    (lambda: cron("* * * * *", "UTC", jitter=-1), "jitter must be a share"),
    (lambda: cron("0 30 2 * * *"), r"has 6 fields; expected five.*every\(seconds"),
    (lambda: cron("30 2 * *"), "has 4 fields; expected five"),
    (lambda: cron("@daily"), "has 1 field; expected five"),
    (lambda: cron(""), "has 0 fields"),
    (lambda: cron("60 2 * * *"), "Bad minute"),
    (lambda: cron("0 2 * * FOO"), "Bad day-of-week"),
    (lambda: cron("0 0 30 2 *"), "Bad day-of-month"),
    (lambda: cron(5), "must be a text"),
    (lambda: cron("0 6 * * *", tz="Europe/Berlni"), "Did you mean 'Europe/Berlin'"),
    (lambda: cron("0 6 * * *", tz=""), "no time zone is named ''"),
    (lambda: cron("0 6 * * *", tz="../etc/passwd"), "no time zone is named"),
    (lambda: cron("0 6 * * *", tz=5), "expected a time zone's name"),
    (lambda: as_schedule("0 6 * * *"), r"Did you mean cron\('0 6 \* \* \*'\)"),
    (lambda: as_schedule(300), "is not a schedule"),
    (lambda: as_schedule(rrule(DAILY, dtstart=NAIVE)), "dtstart is naive"),
    (lambda: rule(rruleset(), tz="UTC"), "is empty"),
    (lambda: rule("FREQ=DAILY"), "expected a dateutil rrule"),
    (lambda: rule(rrule(DAILY, dtstart=NAIVE.replace(tzinfo=UTC)), tz="Asia/Tokyo"), "Leave tz out"),
]  # fmt: skip


@pytest.mark.parametrize(("declare", "message"), BAD)
def test_a_wrong_declaration_says_what_and_what_to_do(declare: Any, message: str) -> None:
    with pytest.raises(DeclarationError, match=message) as caught:
        declare()
    assert isinstance(caught.value, ValueError)


# --- calendar rules -----------------------------------------------------------------------------------------


def test_a_rule_is_a_rule_of_wall_times() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    for daily in (
        rule(rrule(DAILY, dtstart=datetime(2026, 3, 27, 2, 30)), tz=berlin),
        rule(rrule(DAILY, dtstart=datetime(2026, 3, 27, 2, 30, tzinfo=berlin))),
        rule(rrule(DAILY, dtstart=datetime(2026, 3, 27, 2, 30, tzinfo=dateutil_tz.gettz("Europe/Berlin")))),
    ):
        found = daily.between(at("2026-03-28 12:00"), at("2026-03-30 12:00"))
        assert local(found, "Europe/Berlin") == ["29 03:00+0200", "30 02:30+0200"]
        found = daily.between(at("2026-10-24 12:00"), at("2026-10-26 12:00"))
        assert local(found, "Europe/Berlin") == ["25 02:30+0200", "26 02:30+0100"]


def test_a_set_of_rules_dates_and_exceptions() -> None:
    rules = rruleset()
    rules.rrule(
        rrule(DAILY, dtstart=datetime(2026, 1, 1, 6, tzinfo=UTC), until=datetime(2026, 1, 6, 6, tzinfo=UTC))
    )
    rules.rrule(rrule(YEARLY, dtstart=datetime(2026, 1, 3, 9, tzinfo=UTC)))
    rules.rdate(datetime(2026, 1, 9, 12, tzinfo=UTC))
    rules.exrule(rrule(WEEKLY, dtstart=datetime(2026, 1, 2, 6, tzinfo=UTC)))
    rules.exdate(datetime(2026, 1, 4, 6, tzinfo=UTC))
    schedule = as_schedule(rules)
    assert local(schedule.between(at("2025-12-01"), at("2026-12-31")), "UTC") == [
        "01 06:00+0000", "03 06:00+0000", "03 09:00+0000", "05 06:00+0000", "06 06:00+0000", "09 12:00+0000",
    ]  # fmt: skip
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert schedule.describe() == (
        "FREQ=DAILY;UNTIL=20260106T060000 and FREQ=YEARLY and 1 date except FREQ=WEEKLY and 1 date in UTC"
    )


def test_a_rule_ends_where_it_ends() -> None:
    three = rule(rrule(DAILY, count=3, dtstart=datetime(2026, 1, 1, tzinfo=UTC)))
    assert three.next(at("2026-01-03")) is None
    assert three.previous(at("2030-01-01")) == at("2026-01-03")
    assert three.previous(at("2025-12-31")) is None
    assert three.next(datetime(1, 1, 1, tzinfo=timezone(14 * HOUR))) == at("2026-01-01")


def test_until_and_dates_are_read_in_the_rules_zone() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    schedule = rule(
        rrule(
            DAILY, dtstart=datetime(2026, 7, 1, 1, tzinfo=berlin), until=datetime(2026, 7, 2, 23, tzinfo=UTC)
        )
    )
    assert local(schedule.between(at("2026-06-01"), at("2026-08-01")), "Europe/Berlin") == [
        "01 01:00+0200", "02 01:00+0200", "03 01:00+0200",
    ]  # fmt: skip


RULES = [
    "DTSTART:20100105T023000\nRRULE:FREQ=DAILY;INTERVAL=3;BYDAY=MO,TU",
    "DTSTART:20100105T023000\nRRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=SU,WE;WKST=SU",
    "DTSTART:20100105T023000\nRRULE:FREQ=WEEKLY;INTERVAL=3;BYDAY=MO,WE,FR;BYSETPOS=-1",
    "DTSTART:20100105T023000\nRRULE:FREQ=HOURLY;INTERVAL=5",
    "DTSTART:20100105T023000\nRRULE:FREQ=HOURLY;INTERVAL=6;BYHOUR=2,8;BYMINUTE=0,30",
    "DTSTART:20100105T023000\nRRULE:FREQ=MINUTELY;INTERVAL=50;BYMONTH=3",
    "DTSTART:20100105T023000\nRRULE:FREQ=DAILY;BYMONTHDAY=-1",
    "DTSTART:20100105T023000\nRRULE:FREQ=MONTHLY;BYDAY=2FR;BYMONTH=1,7",
    "DTSTART:20100105T023000\nRRULE:FREQ=YEARLY;INTERVAL=2;BYWEEKNO=20",
    "DTSTART:20100105T023000\nRRULE:FREQ=DAILY;COUNT=900",
    "DTSTART:20100105T023000\nRRULE:FREQ=DAILY;UNTIL=20120601T000000",
]


@pytest.mark.parametrize("text", RULES)
def test_beginning_late_says_what_dateutil_says_from_the_beginning(text: str) -> None:
    after = datetime(2012, 3, 5, 14, 10)
    plain = rrulestr(text)
    expected = list(islice((one for one in plain if one > after), 40))
    schedule = rule(plain, tz="UTC")
    assert [
        one.replace(tzinfo=None) for one in islice(schedule._walk(after.replace(tzinfo=UTC)), 40)
    ] == expected
    last = plain.before(after, inc=True)
    assert schedule.previous(after.replace(tzinfo=UTC)) == last.replace(tzinfo=UTC)


def test_a_rule_of_seconds_begun_long_ago_answers_at_once() -> None:
    # From dtstart this would be half a billion steps.
    for frequency in (SECONDLY, MINUTELY):
        schedule = rule(rrule(frequency, interval=7, dtstart=datetime(2010, 1, 1, tzinfo=UTC)))
        after = at("2026-01-31")
        following = schedule.next(after)
        assert following is not None
        assert timedelta(0) < following - after <= timedelta(minutes=7)
