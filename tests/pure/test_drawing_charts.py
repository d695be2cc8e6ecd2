"""Laws of charts: whatever the data, they can be read, and say what it says."""

from __future__ import annotations

import gzip
import math
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kck_flow
from kck_flow.drawing.axes import spread
from kck_flow.drawing.board import Plot
from kck_flow.drawing.charts import (
    Annotation,
    Coverage,
    Goal,
    Series,
    Sheet,
    Span,
    bars,
    coverage,
    gains_and_losses,
    goal_bar,
    lines,
    multiples,
    sparkline,
)
from kck_flow.drawing.coverage import STATES
from kck_flow.drawing.palette import DARK, LIGHT
from kck_flow.drawing.scales import Linear, Times
from kck_flow.drawing.strokes import dense_path
from kck_flow.drawing.table import table
from kck_flow.drawing.traces import columns, decimated, stretches, trace
from kck_flow.entry import Point

from .drawn import (
    FIRST,
    INSTANTS,
    SVG,
    VALUES,
    any_points,
    assert_readable,
    corners,
    cursor_of,
    parsed,
    paths,
    points,
    text_boxes,
)

NAMES = st.text(max_size=24)
SERIES = st.lists(
    st.builds(Series, NAMES, any_points(), st.integers(0, 8), st.sampled_from([False, False, True])),
    max_size=5,
)
SHEETS = st.builds(
    Sheet,
    title=NAMES,
    description=NAMES,
    width=st.sampled_from([240, 360, 720, 1100]),
    height=st.integers(60, 320),
    theme=st.sampled_from([None, None, "light", "dark"]),
    cursor=st.sampled_from([None, True, False]),
    tab_stop=st.booleans(),
    zone=st.sampled_from(
        [ZoneInfo(name) for name in ("UTC", "Europe/Paris", "America/Santiago", "Asia/Kathmandu")]
    ),
    week_start=st.integers(0, 6),
)
GOALS = st.one_of(st.none(), st.builds(Goal, VALUES, NAMES))
NOTES = st.lists(
    st.builds(
        lambda at, text, length: Annotation(
            at, text, None if length is None else at + timedelta(hours=length)
        ),
        INSTANTS,
        NAMES,
        st.one_of(st.none(), st.integers(-5, 1_000_000)),
    ),
    max_size=4,
)
lawful = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@lawful
@given(SERIES, SHEETS, GOALS, NOTES, st.booleans())
def test_lines_of_anything_can_be_read(
    series: list[Series], sheet: Sheet, goal: Goal | None, notes: list[Annotation], zero: bool
) -> None:
    assert_readable(parsed(lines(series, sheet, goal=goal, annotations=notes, zero=zero)))


@lawful
@given(SERIES, SHEETS, GOALS, NOTES, st.booleans())
def test_bars_of_anything_can_be_read(
    series: list[Series], sheet: Sheet, goal: Goal | None, notes: list[Annotation], stacked: bool
) -> None:
    assert_readable(parsed(bars(series, sheet, stacked=stacked, goal=goal, annotations=notes)))


@lawful
@given(SERIES, SERIES, st.one_of(st.none(), st.builds(Series, NAMES, any_points())), SHEETS, GOALS, NOTES)
def test_gains_and_losses_of_anything_can_be_read(
    gains: list[Series],
    losses: list[Series],
    net: Series | None,
    sheet: Sheet,
    goal: Goal | None,
    notes: list[Annotation],
) -> None:
    assert_readable(parsed(gains_and_losses(gains, losses, net, sheet, goal=goal, annotations=notes)))


@lawful
@given(SERIES, SHEETS, st.booleans())
def test_small_multiples_of_anything_can_be_read(series: list[Series], sheet: Sheet, zero: bool) -> None:
    assert_readable(parsed(multiples(series, sheet, zero=zero)))


@lawful
@given(any_points(), SHEETS, st.booleans())
def test_sparklines_of_anything_can_be_read(found: list[Point], sheet: Sheet, zero: bool) -> None:
    assert_readable(parsed(sparkline(found, sheet, zero=zero)))


@lawful
@given(VALUES, VALUES, SHEETS)
def test_a_bar_towards_any_goal_can_be_read(value: Any, goal: Any, sheet: Sheet) -> None:
    parsed(goal_bar(value, goal, sheet))


SPANS = st.lists(
    st.builds(
        lambda at, minutes, state: Span(
            FIRST + timedelta(minutes=at), FIRST + timedelta(minutes=at + minutes), state
        ),
        st.integers(0, 5000),
        st.integers(0, 900),
        st.sampled_from(STATES),
    ),
    max_size=30,
)


@lawful
@given(st.lists(st.builds(Coverage, NAMES, SPANS), max_size=4), SHEETS)
def test_coverage_of_anything_can_be_read(streams: list[Coverage], sheet: Sheet) -> None:
    assert_readable(parsed(coverage(streams, sheet)))


# ---------------------------------------------------------------------------------------------------------------- gaps

SOME = st.lists(st.one_of(st.none(), st.none(), st.integers(0, 99)), min_size=2, max_size=60)


@lawful
@given(SOME, st.sampled_from([300, 720]))
def test_every_gap_is_seen_and_none_is_bridged(values: list[int | None], width: int) -> None:
    for svg in (
        lines([Series("a", points(values))], Sheet(width=width)),
        sparkline(points(values), Sheet(width=width, height=40)),
    ):
        root = parsed(svg)
        left, _, right, _ = cursor_of(root)["box"]
        marks = [line for data in paths(root, "kck-gap") for line in corners(data)]
        drawn_lines = [line for data in paths(root, "kck-line", "kck-open") for line in corners(data)]
        for at, value in enumerate(values):
            x = left + (right - left) * at / (len(values) - 1)
            marked = any(mark[0][0] - 0.2 <= x <= mark[-1][0] + 0.2 for mark in marks)
            bridged = any(line[0][0] + 0.2 < x < line[-1][0] - 0.2 for line in drawn_lines)
            assert marked == (value is None) or value is not None
            assert not bridged or value is not None


def test_a_gap_of_one_in_ten_thousand_is_seen() -> None:
    values = [float(at % 97) for at in range(10_000)]
    values[6_000] = None  # type: ignore[call-overload]
    root = parsed(lines([Series("a", points(values, step=timedelta(hours=1)))], Sheet()))
    (mark,) = corners(next(paths(root, "kck-gap")))
    left, _, right, _ = cursor_of(root)["box"]
    assert mark[0][0] <= left + (right - left) * 0.6 <= mark[-1][0]
    assert mark[-1][0] - mark[0][0] >= 2


def test_what_an_older_range_lacks_is_no_gap_of_this_one() -> None:
    whole, broken = points([1, 2, 3, 4]), points([None, None, 5, None])
    older = lines([Series("a", whole), Series("before", broken, compares=True)], Sheet())
    assert not list(paths(parsed(older), "kck-gap"))
    this = lines([Series("a", broken), Series("before", whole, compares=True)], Sheet())
    alone = lines([Series("before", broken, compares=True)], Sheet())
    assert all(len(list(paths(parsed(svg), "kck-gap"))) == 1 for svg in (this, alone))


def test_what_stands_alone_between_gaps_is_a_dot() -> None:
    root = parsed(lines([Series("a", points([1, None, 5, None, 2, 3]))], Sheet()))
    dots = [corner for data in paths(root, "kck-dot") for line in corners(data) for corner in line]
    assert len(dots) == 2
    xs = cursor_of(root)["x"]
    assert [x for x, _ in dots] == [xs[0], xs[2]]


def test_zero_is_drawn_and_none_is_not() -> None:
    root = parsed(bars([Series("a", points([3, 0, None, 4]))], Sheet()))
    bars_drawn = sum(data.count("M") for data in paths(root, "kck-bar", "kck-open"))
    assert bars_drawn == 3
    zero = next(paths(root, "kck-bar")).split("M")[2]
    assert "a1.5 1.5" in zero, "round corners, as high as it is"
    assert len(list(paths(root, "kck-gap"))) == 1


# ------------------------------------------------------------------------------------- what is drawn is what is told


@lawful
@given(
    st.lists(
        st.lists(
            st.one_of(st.none(), st.integers(-99, 99), st.decimals(-9, 9, places=2)), min_size=2, max_size=40
        ),
        min_size=1,
        max_size=3,
    ),
    st.booleans(),
)
def test_the_table_says_what_is_drawn(values: list[list[Any]], zero: bool) -> None:
    series = [Series(str(at), points(each)) for at, each in enumerate(values)]
    sheet = Sheet(number=lambda value: repr(value))
    root = parsed(lines(series, sheet, zero=zero))
    told, cursor = table(series, sheet), cursor_of(root)
    assert told.header[1:] == tuple(one["n"] for one in cursor["s"])
    assert [row[0] for row in told.rows] == cursor["t"]
    for at, one in enumerate(cursor["s"]):
        assert [row[at + 1] for row in told.rows] == one["v"]
        for cell, value in zip(one["v"], [*values[at], *[None] * len(told.rows)], strict=False):
            assert cell.removesuffix(" (in progress)") == ("–" if value is None else repr(value))
    on_paper = {
        corner
        for data in paths(root, "kck-line", "kck-open", "kck-dot")
        for line in corners(data)
        for corner in line
    }
    in_table = {
        (float(x), float(y))
        for one in cursor["s"]
        for x, y in zip(cursor["x"], one["y"], strict=True)
        if y is not None
    }
    assert on_paper == in_table


def test_heights_are_in_proportion() -> None:
    root = parsed(lines([Series("a", points([0, 10, 20, 5]))], Sheet()))
    cursor = cursor_of(root)
    _, top, _, bottom = cursor["box"]
    assert cursor["s"][0]["y"] == pytest.approx(
        [bottom - (bottom - top) * share for share in (0, 0.5, 1, 0.25)], abs=0.06
    )


# ---------------------------------------------------------------------------------------------------------- decimation


@lawful
@given(
    st.lists(st.one_of(st.integers(-1000, 1000), st.floats(-1e3, 1e3)), min_size=1, max_size=400),
    st.integers(1, 30),
    st.sampled_from(["UTC", "Europe/Paris"]),
)
def test_each_column_keeps_its_extremes_and_its_ends(values: list[float], width: int, zone: str) -> None:
    first = datetime(2026, 10, 20, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    starts = [(first + timedelta(hours=at)).astimezone(ZoneInfo(zone)) for at in range(len(values))]
    times = Times(starts[0].timestamp(), starts[-1].timestamp(), 7, width)
    cuts = columns(starts, 0, len(starts), times)
    assert [each for _, begin, end in cuts for each in range(begin, end)] == list(range(len(values)))
    assert [number for number, _, _ in cuts] == sorted({number for number, _, _ in cuts})
    for number, begin, end in cuts:
        for at in range(begin, end):
            assert number - 0.001 <= times.x(starts[at]) - 7 <= number + 1.001
    found = decimated(values, cuts)
    assert min(low for _, _, low, _, _ in found) == min(values)
    assert max(high for _, _, _, high, _ in found) == max(values)
    for (_, begin, end), (_, left, low, high, right) in zip(cuts, found, strict=True):
        chunk = values[begin:end]
        assert (left, low, high, right) == (chunk[0], min(chunk), max(chunk), chunk[-1])

    scale = Linear(-1000, 1000, (-1000, 1000))
    plot = Plot(7, 0, 7 + width, 200, scale, times)
    (line,) = corners(dense_path(plot, found))
    assert max(y for _, y in line) == pytest.approx(plot.y(min(values)), abs=0.06)
    assert min(y for _, y in line) == pytest.approx(plot.y(max(values)), abs=0.06)


def test_a_spike_survives_among_ten_thousand() -> None:
    values = [10.0] * 10_000
    values[1234], values[7777] = 500.0, -300.0
    root = parsed(lines([Series("a", points(values, step=timedelta(hours=1)))], Sheet()))
    cursor = cursor_of(root)
    left, top, right, bottom = cursor["box"]
    ys = [y for data in paths(root, "kck-line") for line in corners(data) for _, y in line]
    assert bottom > max(ys) > sorted(ys)[-5] + 50, "down to −300"
    assert top < min(ys) < sorted(ys)[4] - 50, "up to 500"
    assert len(ys) < 4 * (right - left) + 4
    said = " ".join(cursor["s"][0]["v"])
    assert "10 … 500" in said
    assert "−300 … 10" in said


def test_ten_thousand_points_twice_are_small() -> None:
    values = [round(50 + 20 * math.sin(at / 50) + (at * 7919 % 13), 1) for at in range(10_000)]
    series = [Series(name, points(values, step=timedelta(hours=1))) for name in ("a", "b")]
    assert len(gzip.compress(lines(series, Sheet()).encode())) < 15_000


def test_values_far_from_zero_keep_their_shape_when_there_are_many() -> None:
    values = [10**15 + at % 1000 for at in range(5000)]
    root = parsed(lines([Series("a", points(values, step=timedelta(hours=1)))], Sheet(), zero=False))
    _, top, _, bottom = cursor_of(root)["box"]
    ys = [y for data in paths(root, "kck-line") for line in corners(data) for _, y in line]
    assert max(ys) - min(ys) > (bottom - top) * 0.6


# --------------------------------------------------------------------------------- what is not complete, breaks, marks


@given(st.integers(1, 30), st.sets(st.integers(0, 29)))
def test_what_leads_to_something_incomplete_is_dashed(number: int, opened: set[int]) -> None:
    found = stretches((0, number), sorted(at for at in opened if at < number))
    assert found[0][0] == 0
    assert found[-1][1] == number
    assert all(before[1] - 1 == after[0] for before, after in pairwise(found))
    for begin, end, dashed in found:
        assert all((at in opened) == dashed for at in range(begin + 1, end))


def test_the_step_in_progress_is_dashed_and_hollow() -> None:
    root = parsed(lines([Series("a", points([1, 2, 3, 2]))], Sheet(theme="light")))
    ((before, last),) = corners(next(paths(root, "kck-open")))
    circles = list(root.iter(f"{SVG}circle"))
    assert (circles[-1].get("fill"), circles[-1].get("cx")) == (LIGHT["surface"], f"{last[0]:g}")
    assert before[0] < last[0]
    complete = parsed(lines([Series("a", points([1, 2, 3, 2], open=0))], Sheet(theme="light")))
    assert not list(paths(complete, "kck-open"))
    assert [circle.get("fill") for circle in complete.iter(f"{SVG}circle")] == [LIGHT["series-1"]]


def test_the_bar_in_progress_is_hatched() -> None:
    root = parsed(bars([Series("a", points([1, 2, 3]))], Sheet()))
    (hatched,) = (element for element in root.iter(f"{SVG}path") if element.get("class") == "kck-open")
    assert hatched.get("fill", "").startswith("url(#chart-hatch")


def test_what_was_told_afterwards_is_hollow() -> None:
    series = Series("a", points([1, 2, 3, 2], open=0), reconstructed=[FIRST, FIRST + timedelta(days=1)])
    root = parsed(lines([series], Sheet(theme="dark")))
    fills = [circle.get("fill") for circle in root.iter(f"{SVG}circle")]
    assert fills == [DARK["surface"], DARK["surface"], DARK["series-1"]]


def test_where_the_definition_changes_the_line_breaks() -> None:
    found = [
        Point(one.start, one.end, one.value, one.complete, 1 if at < 3 else 2)
        for at, one in enumerate(points([1, 2, 3, 9, 8, 7], open=0))
    ]
    root = parsed(lines([Series("a", found)], Sheet()))
    assert [len(line) for data in paths(root, "kck-line") for line in corners(data)] == [3, 3]
    assert [element.get("class") for element in root.iter(f"{SVG}g")] == ["kck-break"]
    assert "redefined" in [said for said, _ in text_boxes(root)]
    assert parsed(lines([Series("a", points([1, 2, 3]))], Sheet())).find("{*}g") is None


@given(st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=12), st.data())
def test_runs_have_one_definition_and_no_gap(values: list[int | None], data: st.DataObject) -> None:
    found = [
        Point(one.start, one.end, one.value, True, data.draw(st.sampled_from([None, 1, 2])))
        for one in points(values)
    ]
    traced = trace(found)
    inside = [at for first, end in traced.runs for at in range(first, end)]
    missing = [at for first, end in traced.gaps for at in range(first, end)]
    assert sorted(inside + missing) == list(range(len(values)))
    assert all(values[at] is None for at in missing)
    assert all(len({found[at].generation for at in range(*run)}) == 1 for run in traced.runs)
    assert len(traced.breaks) == sum(
        found[a].generation != found[b].generation for a, b in pairwise(sorted(inside))
    )


# -------------------------------------------------------------------------------------------------------- what is said


def test_names_stand_at_the_ends_of_lines_or_in_a_legend() -> None:
    apart = [Series("Sign up", points([1, 2, 30])), Series("Churn", points([3, 2, 1]))]
    together = [
        Series("Sign up", points([1, 2, 3])),
        *(Series(f"No. {at}", points([1, 2, 3])) for at in range(6)),
    ]

    def right_of_plot(series: list[Series], width: int) -> list[str]:
        root = parsed(lines(series, Sheet(width=width)))
        edge = cursor_of(root)["box"][2]
        return [said for said, box in text_boxes(root) if box[0] > edge]

    assert right_of_plot(apart, 720) == ["Sign up", "Churn"]
    assert right_of_plot(apart, 360) == right_of_plot(together, 720) == []


@given(st.lists(st.floats(0, 100), max_size=6), st.floats(1, 200))
def test_names_are_spread_no_further_than_they_must(wanted: list[float], most: float) -> None:
    places = spread(wanted, 15, 0, 100, most)
    if places is None:
        apart = sorted(wanted)
        assert len(wanted) > 7 or any(b - a < 15 for a, b in pairwise(apart))
        return
    ordered = sorted(places)
    assert all(b - a >= 15 - 1e-9 for a, b in pairwise(ordered))
    assert all(0 <= place <= 100 for place in places)
    assert all(abs(place - want) <= most for place, want in zip(places, wanted, strict=True))
    if all(b - a >= 15 for a, b in pairwise(sorted(wanted))):
        assert places == pytest.approx(wanted)


def test_a_phone_has_fewer_ticks() -> None:
    def labels(width: int) -> list[str]:
        root = parsed(lines([Series("a", points(list(range(60))))], Sheet(width=width)))
        return [said for said, _ in text_boxes(root) if "Jun" in said or "Jul" in said]

    assert 1 < len(labels(360)) < len(labels(1100))


def test_what_compares_lies_beneath_the_first() -> None:
    before = points([5, 6, 7, 8], first=FIRST - timedelta(days=30), open=0)
    series = [Series("now", points([1, 2, 3])), Series("before", before, compares=True)]
    root = parsed(lines(series, Sheet()))
    cursor = cursor_of(root)
    assert cursor["s"][1]["v"] == ["5", "6", "7"]
    assert cursor["s"][1]["c"] == "border"
    assert [row[2] for row in table(series).rows] == ["5", "6", "7"]


def test_a_goal_is_within_the_domain_and_labelled() -> None:
    root = parsed(lines([Series("a", points([1, 2, 3]))], Sheet(), goal=Goal(Decimal(50), "goal 50")))
    _, top, _, bottom = cursor_of(root)["box"]
    ((one, _),) = corners(next(paths(root, "kck-goal")))
    assert top <= one[1] <= bottom
    assert "goal 50" in [said for said, _ in text_boxes(root)]


def test_annotations_outside_are_left_out() -> None:
    notes = [
        Annotation(FIRST + timedelta(days=1), "within"),
        Annotation(FIRST - timedelta(days=9), "reaching in", FIRST + timedelta(days=2)),
        Annotation(FIRST - timedelta(days=9), "before"),
        Annotation(FIRST + timedelta(days=99), "after", FIRST + timedelta(days=100)),
    ]
    said = {
        text
        for text, _ in text_boxes(
            parsed(lines([Series("a", points([1, 2, 3, 4]))], Sheet(), annotations=notes))
        )
    }
    assert said & {note.text for note in notes} == {"within", "reaching in"}


def test_a_chart_without_values_says_so() -> None:
    for found in ([], points([None, None])):
        assert "no values" in [said for said, _ in text_boxes(parsed(lines([Series("a", found)], Sheet())))]


def test_words_are_translated() -> None:
    sheet = Sheet(gettext={"no values": "keine Werte", "gap": "Lücke"}.get)  # type: ignore[arg-type]
    assert "keine Werte" in lines([Series("a", [])], sheet)
    span = Span(FIRST, FIRST + timedelta(hours=1), "gap")
    assert "Lücke" in coverage([Coverage("a", [span])], sheet)


def test_within_a_page_colours_are_its_own_and_alone_they_are_brought() -> None:
    series = [Series("a", points([1, 2])), Series("b", points([2, 1]))]
    inline, alone = lines(series, Sheet(tab_stop=True)), lines(series, Sheet(theme="dark"))
    assert "var(--kck-series-2)" in inline
    assert "#" not in inline
    assert 'tabindex="0"' in inline
    assert "var(" not in alone
    assert DARK["series-2"] in alone
    assert "<metadata>" in inline
    assert "<metadata>" not in alone


def test_the_shortest_gap_of_a_stream_is_seen() -> None:
    minute = timedelta(minutes=1)
    spans = [
        Span(FIRST + at * minute, FIRST + (at + 1) * minute, "gap" if at == 6_007 else "complete")
        for at in range(9_000)
    ]
    root = parsed(coverage([Coverage("orders", spans)], Sheet()))
    assert [each[3] for each in cursor_of(root)["s"][0]["f"]] == ["complete", "gap", "complete"]


@pytest.mark.parametrize(
    ("value", "goal", "share"),
    [
        (25, 100, 0.25),
        (100, 100, 1),
        (250, 100, 1),
        (0, 100, 0),
        (-3, 9, 0),
        (None, 5, 0),
        (5, None, 0),
        (5, 0, 0),
    ],
)
def test_a_bar_reaches_as_far_as_the_value_does(value: Any, goal: Any, share: float) -> None:
    root = parsed(goal_bar(value, goal, Sheet(width=200, height=8)))
    reached = [
        float(one.get("width", "0")) for one in root.iter(f"{SVG}rect") if one.get("class") == "kck-reached"
    ]
    assert reached == ([200 * share] if share else [])
    assert bool(list(paths(root, "kck-goal"))) == (value == 250)


def test_stacks_add_up() -> None:
    series = [Series("a", points([1, 2], open=0)), Series("b", points([3, 4], open=0))]
    root = parsed(bars(series, Sheet(), stacked=True))
    _, top, _, _ = cursor_of(root)["box"]
    tips = [float(y) for data in paths(root, "kck-bar") for y in re.findall(r"V([\d.]+)", data)]
    assert min(tips) == pytest.approx(top, abs=2.6), "6 is where the domain ends; corners are round"


def test_the_pages_stylesheet_paints_nothing_that_is_drawn() -> None:
    # A rule beats an attribute: one class of this name in the stylesheet, and each series has one and the same colour.
    package = Path(kck_flow.__file__).parent
    drawn = {
        name
        for path in (package / "drawing").glob("*.py")
        for names in re.findall(r'class_=(?:f?)"([^"]*)"', path.read_text())
        for name in names.split()
    }
    assert {"kck-bar", "kck-line"} <= drawn
    rules = re.findall(r"([^{}]+)\{([^{}]*)\}", (package / "static/kck_flow/kck.css").read_text())
    wrong = [
        selector.strip()
        for selector, body in rules
        if re.search(r"(?:^|;)(?:fill|stroke|color|background|opacity)\b", body)
        and drawn & set(re.findall(r"\.([\w-]+)", selector))
    ]
    assert not wrong


def test_of_months_the_ticks_are_months_and_not_every_fourth_monday() -> None:
    zone = ZoneInfo("Europe/Paris")
    firsts = [datetime(2025 + at // 12, at % 12 + 1, 1, tzinfo=zone) for at in range(11, 24)]
    points = [Point(start, end, at, True) for at, (start, end) in enumerate(pairwise(firsts))]
    for width in (960, 340):
        drawn = lines([Series("revenue", points)], Sheet(width=width, height=240, zone=zone))
        told = re.findall(r">([^<>]+)</text>", drawn)
        assert "2026" in told
        assert not [one for one in told if re.fullmatch(r"\d+ [A-Z][a-z]{2}", one)]
