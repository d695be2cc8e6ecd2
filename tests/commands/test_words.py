"""How things are said and read on the command line: pure."""

from __future__ import annotations

import argparse
import csv
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kck_flow.management import tables, words
from kck_flow.management.progressing import Progress
from kck_flow.management.tables import Column


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "-"),
        (0.0042, "4 ms"),
        (0.8, "0.8 s"),
        (5, "5 s"),
        (59, "59 s"),
        (240, "4 min"),
        (3600, "1 h"),
        (5400, "1.5 h"),
        (86_400, "24 h"),
        (3 * 86_400, "3 d"),
        (5000 * 86_400, "5,000 d"),
    ],
)
def test_a_duration_is_said_in_its_fitting_unit(seconds: float | None, said: str) -> None:
    assert words.span(seconds) == said


@pytest.mark.parametrize(("seconds", "said"), [(660, "in 11 min"), (-4, "4 s ago"), (0.1, "now")])
def test_an_instant_is_said_from_now(seconds: float, said: str) -> None:
    assert words.ahead(seconds) == said


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("12h", 43_200), ("7d", 604_800)]
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert words.seconds(text) == seconds


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (words.seconds, "soon"), (words.seconds, "-5"), (words.seconds, "5y"), (words.duration_or_never, "5y"),
        (words.duration_or_never, "9999999999d"), (words.number_of_bytes, "0"), (words.number_of_bytes, "1T"),
        (words.at_least(1), "0"), (words.at_least(1), "1.5"), (words.at_least(0), "x"), (words.aware, "yesterday"),
        (words.names, " , "),
    ],
)  # fmt: skip
def test_what_is_misspelled_says_how_it_is_spelled(read, text) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as raised:
        read(text)
    assert text.strip() in str(raised.value)


def test_never_is_a_duration() -> None:
    assert words.duration_or_never("never") is None
    assert words.duration_or_never("5m") == timedelta(minutes=5)


def test_sizes_are_read() -> None:
    assert [words.number_of_bytes(text) for text in ("100", "8K", "512M", "2GB")] == [
        100,
        8192,
        512 * 2**20,
        2 * 2**30,
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("true", True),
        ("null", None),
        ('"5"', "5"),
        ("hello", "hello"),
        ("[1, 2]", [1, 2]),
        ('{"a": 1}', {"a": 1}),
        ("NaN", "NaN"),
        ("-", "-"),
        ("", ""),
        ("007", "007"),
        ("[1,", "[1,"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_a_value_is_json_or_the_text_itself(text: str, value: object) -> None:
    assert words.read_value(text) == value


# What a command line can carry: no NUL, no half of a surrogate pair.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_what_get_prints_set_reads(value: object) -> None:
    assert words.read_value(words.spell_value(value)) == value


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert words.printable("a\x1b[2Jb\r\nc\u202ed") == "a\\x1b[2Jb\\r\\nc\\u202ed"


def test_half_a_surrogate_pair_and_infinity_are_written_as_json_can() -> None:
    assert words.spell_value("a\ud800").isascii() or words.spell_value("a\ud800").encode()
    assert words.printable("a\ud800") == "a\\ud800"
    assert (
        tables.as_json({"n": float("inf"), "t": "a\ud800", "f": 1.5}).encode()
        == '{"n": null, "t": "a�", "f": 1.5}'.encode()
    )


def test_our_own_signs_have_an_ascii_spelling() -> None:
    assert words.ascii_only("✓ a — b → c …").isascii()


ROWS = [
    {
        "key": "a",
        "n": 4391,
        "at": datetime(2026, 1, 31, 9, tzinfo=UTC),
        "took": timedelta(seconds=1.5),
        "more": [1, "x"],
    },
    {"key": 'ütf, "quoted"\nline', "n": None, "at": None, "took": None, "more": Decimal("1.10")},
]
COLUMNS = [Column("KEY", lambda row: row["key"]), Column("N", lambda row: words.value(row["n"]), right=True)]


def test_a_table_has_its_columns_under_their_headers() -> None:
    lines = list(tables.lines(COLUMNS, ROWS))
    assert lines[0].split() == ["KEY", "N"]
    assert lines[1].endswith(" 4,391")
    assert len({tables.width_of(line) for line in lines}) == 1
    assert "\n" not in lines[2]


def test_a_narrow_terminal_cuts_the_column_that_stretches() -> None:
    columns = [Column("KEY", lambda row: "k" * 10), Column("WHY", lambda row: "w" * 100, stretch=True)]
    assert {len(line) for line in list(tables.lines(columns, ROWS, width=40))[1:]} == {40}


def test_json_and_csv_parse_back() -> None:
    out = io.StringIO()
    tables.write_json(out, ROWS)
    assert json.loads(out.getvalue()) == [
        {"key": "a", "n": 4391, "at": "2026-01-31T09:00:00+00:00", "took": 1.5, "more": [1, "x"]},
        {"key": ROWS[1]["key"], "n": None, "at": None, "took": None, "more": "1.10"},
    ]
    out = io.StringIO()
    tables.write_csv(out, list(ROWS[0]), ROWS)
    found = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert found[0] == {
        "key": "a",
        "n": "4391",
        "at": "2026-01-31T09:00:00+00:00",
        "took": "1.5",
        "more": '[1, "x"]',
    }
    assert found[1]["key"] == ROWS[1]["key"]
    assert found[1]["n"] == ""


def test_no_rows_are_an_empty_list() -> None:
    out = io.StringIO()
    tables.write_json(out, [])
    assert json.loads(out.getvalue()) == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_away_from_a_terminal_is_a_line_a_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Progress, "seconds", 2.0)
    out = io.StringIO()
    with Progress(out, 1000, "rows") as progress:
        for _ in range(1000):
            progress.step("x")
    lines = out.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("100/1,000 rows (10 %)")
    assert "\r" not in out.getvalue()
    few = io.StringIO()
    with Progress(few, 3) as progress:
        progress.step()
    assert few.getvalue() == "1/3 (33 %), 2 s\n"


def test_work_that_is_over_at_once_makes_one_line_away_from_a_terminal() -> None:
    out = io.StringIO()
    with Progress(out, 3) as progress:
        for _ in range(3):
            progress.step()
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().startswith("3/3 (100 %)")


def test_progress_on_a_terminal_is_one_line_redrawn_and_then_taken_away() -> None:
    out = Terminal()
    with Progress(out, 3, "") as progress:
        for name in "abc":
            progress.step(name)
    assert "\n" not in out.getvalue()
    assert "[################] 3/3   c" in out.getvalue()
    assert out.getvalue().endswith("\r")


def test_silent_progress_counts_all_the_same() -> None:
    with Progress(None, 3) as progress:
        progress.step()
    assert progress.done == 1
