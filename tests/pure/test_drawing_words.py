"""Laws and stories of a chart's words: its sentence, its table, how numbers and times are said."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kck_flow.drawing.scales import drawn
from kck_flow.drawing.sheet import Series, Sheet, plain_moment, plain_number, plain_tick, rounded
from kck_flow.drawing.summary import summary
from kck_flow.drawing.table import Table, table
from kck_flow.entry import Point

from .drawn import FIRST, VALUES, any_points, points

JUNE = [31, 40, *[30] * 6, None, None, 12, 66, *[30] * 17, 42]


def test_a_month_in_one_sentence() -> None:
    assert summary("Sign-ups per day", points(JUNE)) == (
        "Sign-ups per day, 1 to 30 June: between 12 and 66, 31 on average; latest 42 (in progress); "
        "highest 66 on 12 June; 2 days without a value."
    )


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([], "A: no values."),
        (points([None, None]), "A, 1 to 2 June: no values; 2 days without a value."),
        (points([7]), "A, 1 June: 7 (in progress)."),
        (points([7], open=0), "A, 1 June: 7."),
        (points([7, None], open=0), "A, 1 to 2 June: 7; 1 day without a value."),
        (points([7, 7, 3]), "A, 1 to 3 June: always 7; latest 3 (in progress)."),
        (points([7, 7], open=0), "A, 1 to 2 June: always 7; latest 7."),
        (
            points([1, 2, 4], open=0),
            "A, 1 to 3 June: between 1 and 4, 2.3 on average; latest 4; highest 4 on 3 June.",
        ),
        (
            points([1, None, 4], step=timedelta(hours=1), open=0),
            "A, 1 June: between 1 and 4, 2.5 on average; latest 4; highest 4 on 1 June, 02:00; 1 hour without a value.",
        ),
        (
            points([1, 2], first=datetime(2026, 12, 31, tzinfo=UTC), open=0),
            "A, 31 December 2026 to 1 January 2027: between 1 and 2, 1.5 on average; latest 2; highest 2 on 1 January.",
        ),
    ],
)
def test_what_is_said_of_little(found: list[Point], said: str) -> None:
    assert summary("A", found) == said


def test_a_value_that_refuses_to_be_compared_is_none() -> None:
    said = summary("A", points([Decimal("sNaN"), 4, 5]))
    assert said == "A, 1 to 3 June: always 4; latest 5 (in progress); 1 day without a value."


@given(any_points())
def test_anything_has_its_sentence_made_of_whole_ones_that_were_translated(found: list[Point]) -> None:
    asked: list[str] = []

    def gettext(text: str) -> str:
        asked.append(text)
        return f"<{text}>"

    def ngettext(one: str, many: str, number: int) -> str:
        asked.append(one)
        return f"[{one if number == 1 else many}]"

    said = summary("A", found, zone=ZoneInfo("Europe/Paris"), gettext=gettext, ngettext=ngettext)
    assert said.startswith("<A")
    assert said.endswith(".>")
    assert "{" not in said.replace(repr({"a": 1}), "")
    missing = sum(drawn(point.value) is None for point in found)
    assert ("[" in said) == (missing > 0)


def test_a_step_that_lacks_something_for_good_is_not_in_progress() -> None:
    found = [
        Point(one.start, one.end, one.value, at != 1) for at, one in enumerate(points([1, 2, 3], open=0))
    ]
    assert [row[1] for row in table([Series("a", found)]).rows] == ["1", "2 (incomplete)", "3"]
    assert "progress" not in summary("a", found)


def test_a_table_is_plain_data() -> None:
    series = [Series("Sign up", points([3, None, 0])), Series("Churn", points([1, 2], open=0))]
    assert table(series) == Table(
        ("When", "Sign up", "Churn"),
        (("1 Jun 2026", "3", "1"), ("2 Jun 2026", "–", "2"), ("3 Jun 2026", "0 (in progress)", "–")),
    )


@given(st.lists(st.builds(Series, st.text(max_size=5), any_points(), st.just(0), st.booleans()), max_size=4))
def test_no_row_is_longer_than_the_header_and_no_point_is_lost(series: list[Series]) -> None:
    told = table(series)
    assert all(len(row) == len(told.header) == len(series) + 1 for row in told.rows)
    firsts = [one for one in series if not one.compares] or series
    for at, one in enumerate(series):
        said = [row[at + 1] for row in told.rows if row[at + 1] != "–"]
        there = sum(drawn(point.value) is not None for point in one.points)
        assert len(said) == there if any(one is first for first in firsts) else len(said) <= there


@given(
    st.lists(
        st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=3, max_size=3), min_size=1, max_size=3
    )
)
def test_tables_of_like_steps_do_not_depend_on_order(values: list[list[int | None]]) -> None:
    series = [Series(str(at), points(each)) for at, each in enumerate(values)]
    mixed = [Series(one.name, list(reversed(one.points))) for one in series]
    assert table(mixed) == table(series)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (4391, "4,391"),
        (-4391, "−4,391"),
        (0, "0"),
        (0.25, "0.25"),
        (-0.5, "−0.5"),
        (1234567.891, "1,234,567.891"),
        (1e21, "1e+21"),
        (10**20, "1.00e+20"),
        (Decimal("1.50"), "1.50"),
        (Decimal("1E+400"), "1e+400"),
        (Decimal("1E-400"), "1e-400"),
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "–"),
        ("text", "–"),
    ],
)
def test_how_numbers_are_said(value: Any, said: str) -> None:
    assert plain_number(value) == said


@given(VALUES)
def test_any_number_is_said(value: Any) -> None:
    assert 0 < len(plain_number(value)) < 40


@pytest.mark.parametrize(
    ("value", "like", "said"),
    [
        (31.27, [1, 2], 31),
        (2.345, [1, 2], 2.3),
        (0.04567, [0.1], 0.0457),
        (1234.5678, [0.5], 1235),
        (0.0, [], 0),
    ],
)
def test_an_average_has_no_more_digits_than_it_can_bear(value: float, like: list[float], said: float) -> None:
    assert rounded(value, like) == said


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (timedelta(seconds=15), "1 Jun 2026 00:00:00"),
        (timedelta(minutes=5), "1 Jun 2026 00:00"),
        (timedelta(hours=1), "1 Jun 2026 00:00"),
        (timedelta(hours=23), "1 Jun 2026"),
        (timedelta(days=1), "1 Jun 2026"),
        (timedelta(days=7), "1–7 Jun 2026"),
        (timedelta(days=30), "Jun 2026"),
        (timedelta(days=60), "1 Jun – 30 Jul 2026"),
        (timedelta(days=365), "1 Jun 2026 – 31 May 2027"),
    ],
)
def test_how_windows_are_said(step: timedelta, said: str) -> None:
    assert plain_moment(FIRST, FIRST + step) == said


def test_how_ticks_are_said() -> None:
    at = datetime(2026, 1, 1, 14, 5, tzinfo=UTC)
    midnight = datetime(2026, 3, 1, tzinfo=UTC)
    assert [plain_tick(at, unit) for unit in ("second", "hour", "week", "month", "year")] == [
        *("14:05:00", "14:05", "1 Jan", "2026", "2026"),
    ]
    assert [plain_tick(midnight, unit) for unit in ("hour", "month")] == ["1 Mar", "Mar"]


def test_days_are_those_of_the_zone() -> None:
    late = [Point(FIRST - timedelta(hours=2), FIRST + timedelta(hours=22), 1, True)]
    assert table([Series("a", late)], Sheet(zone=ZoneInfo("Europe/Paris"))).rows[0][0] == "1 Jun 2026"
    assert summary("a", late, zone=ZoneInfo("Europe/Paris")) == "a, 1 June: 1."
