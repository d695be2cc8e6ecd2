"""How much of its time a stream has, and how far a value is on its way to a goal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from . import axes
from .axes import BELOW
from .bars import hatch
from .board import LINE, Board, Plot
from .cursor import box_of
from .palette import colors
from .scales import Linear, Times, drawn
from .sheet import Sheet
from .svg import element, fit, number, picture, text_width

State = Literal["complete", "late", "gap", "in progress", "back-filling"]
STATES: tuple[State, ...] = (
    "complete",
    "in progress",
    "back-filling",
    "late",
    "gap",
)  # what is worse hides what is not


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time of a stream, and how it stands: one or more time frames."""

    start: datetime
    end: datetime
    state: State


@dataclass(frozen=True, slots=True)
class Coverage:
    """A stream and its stretches of time."""

    name: str
    spans: Sequence[Span]


def coverage(
    streams: Sequence[Coverage], sheet: Sheet, *, start: datetime | None = None, end: datetime | None = None
) -> str:
    """Return a bar for each stream: which of its time is complete, late, missing, in progress or being back-filled.

    Args:
        streams: From top to bottom. A state too short for a pixel is a pixel wide; of two in one, the worse is seen.
        sheet: Its height is not heeded.
        start, end: The range; without them, that of all spans.
    """
    board = Board(sheet)
    words = sheet.gettext
    spans = [span for one in streams for span in one.spans]
    begin = start.timestamp() if start else min((span.start.timestamp() for span in spans), default=0.0)
    stop = end.timestamp() if end else max((span.end.timestamp() for span in spans), default=0.0)
    names = max((text_width(one.name) for one in streams), default=0.0) + 12
    beside = not sheet.narrow and names <= sheet.width * 0.3
    used = [state for state in STATES if any(span.state == state for span in spans)]
    rows = axes.legend_rows(board, [words(state) for state in used])
    thick, lane = 16, 28 if beside else 42
    top = len(rows) * LINE + (12 if rows else 0)
    bottom = top + max(len(streams), 1) * lane
    left = names if beside else 1.0
    plot = Plot(
        left,
        top,
        sheet.width - 1,
        bottom,
        Linear(0, 1, (0, 1)),
        Times(begin, stop, left, sheet.width - 1 - left),
    )
    paints = _coverage_paints(board, used)
    axes.draw_legend(board, rows, lambda place, x, y: _state_key(paints[used[place]], x + 3, y - 6))
    for at, one in enumerate(streams):
        y = top + at * lane + (lane - thick - (4 if not beside else 6))
        if beside:
            board.write(0, y + 12, fit(one.name, names), fill="ink")
        else:
            board.write(0, y - 6, fit(one.name, sheet.width), fill="ink")
        board.add(
            element(
                "rect",
                x=float(plot.left),
                y=float(y),
                width=float(plot.right - plot.left),
                height=thick,
                rx=3,
                fill=board.colors["shade"],
            )
        )
        for state, outline in _stretches_of(one, plot, y, thick).items():
            board.add(element("path", d=outline, class_=f"kck-{state.replace(' ', '-')}", **paints[state]))
    axes.draw_time_axis(
        board,
        plot,
        least=min(((s.end - s.start).total_seconds() for s in spans[:200] if s.end > s.start), default=1),
    )
    data: dict[str, Any] | None = None
    if sheet.carries_cursor:
        data = {
            "box": box_of(plot),
            "s": [{"n": one.name, "f": _said_stretches(one, plot, sheet)} for one in streams],
        }
    return board.picture(bottom + BELOW, data, kind="coverage")


def _pixels(one: Coverage, plot: Plot) -> list[tuple[int, int, State, int, int]]:
    """Stretches of pixels that show one state: from, to, the state, the first and the end of the spans."""
    order = sorted(one.spans, key=lambda span: span.start.timestamp())
    left, right = math.floor(plot.left), math.ceil(plot.right)
    worst: dict[int, tuple[int, int]] = {}
    for at, span in enumerate(order):
        begin = plot.times.x(span.start)
        stop = plot.times.x(span.end)
        if stop < left or begin > right or stop < begin:
            continue
        first = min(max(round(begin), left), right - 1)
        last = max(min(round(stop), right), first + 1)
        rank = STATES.index(span.state)
        for pixel in range(first, last):
            if pixel not in worst or worst[pixel][0] <= rank:
                worst[pixel] = rank, at
    found: list[tuple[int, int, State, int, int]] = []
    for pixel in sorted(worst):
        rank, at = worst[pixel]
        if found and found[-1][1] == pixel and found[-1][2] == STATES[rank]:
            found[-1] = found[-1][0], pixel + 1, STATES[rank], found[-1][3], at + 1
        else:
            found.append((pixel, pixel + 1, STATES[rank], at, at + 1))
    return found


def _stretches_of(one: Coverage, plot: Plot, y: float, thick: float) -> dict[State, str]:
    outlines: dict[State, str] = {}
    for left, right, state, _, _ in _pixels(one, plot):
        inset = 0.75 if state in ("gap", "in progress") and right - left > 2 else 0
        outlines[state] = outlines.get(state, "") + (
            f"M{number(left + inset)} {number(y + inset)}H{number(right - inset)}"
            f"V{number(y + thick - inset)}H{number(left + inset)}Z"
        )
    return outlines


def _said_stretches(one: Coverage, plot: Plot, sheet: Sheet) -> list[list[Any]]:
    """Of each stretch: from, to, and what it is."""
    order = sorted(one.spans, key=lambda span: span.start.timestamp())
    return [
        [
            left,
            right,
            sheet.moment(
                order[first].start.astimezone(sheet.zone), order[end - 1].end.astimezone(sheet.zone)
            ),
            sheet.gettext(state),
        ]
        for left, right, state, first, end in _pixels(one, plot)
    ]


def _coverage_paints(board: Board, used: Sequence[State]) -> dict[State, dict[str, Any]]:
    """What paints each state: a colour, and a pattern, so that it is told without colour, too."""
    tokens, id = board.colors, board.sheet.id
    surface = tokens[board.sheet.surface]
    paints: dict[State, dict[str, Any]] = {
        "complete": {"fill": tokens["series-1"]},
        "in progress": {
            "fill": surface,
            "stroke": tokens["series-1"],
            "stroke_width": 1.5,
            "stroke_dasharray": "4 2.5",
        },
        "back-filling": {"fill": f"url(#{id}-back)"},
        "late": {"fill": f"url(#{id}-late)"},
        "gap": {"fill": f"url(#{id}-gap)", "stroke": tokens["bad"], "stroke_width": 1.5},
    }
    patterns = []
    if "late" in used:
        patterns.append(hatch(f"{id}-late", tokens["series-2"], surface))
    if "back-filling" in used:
        dots = "".join(
            element("circle", cx=x, cy=y, r=1.1, fill=tokens["series-1"]) for x, y in ((1.5, 1.5), (4.5, 4.5))
        )
        patterns.append(
            element(
                "pattern",
                element("rect", width=6, height=6, fill=surface) + dots,
                id=f"{id}-back",
                width=6,
                height=6,
                patternUnits="userSpaceOnUse",
            )
        )
    if "gap" in used:
        patterns.append(
            element(
                "pattern",
                element("rect", width=8, height=8, fill=surface),
                element("path", d="M2 2l4 4M6 2l-4 4", stroke=tokens["bad"], stroke_width=1.25),
                id=f"{id}-gap",
                width=8,
                height=8,
                patternUnits="userSpaceOnUse",
            )
        )
    if patterns:
        board.add(element("defs", *patterns))
    return paints


def _state_key(paint: dict[str, Any], x: float, y: float) -> str:
    return element("rect", x=float(x), y=float(y), width=14, height=12, rx=2, **paint)


def goal_bar(value: Any, goal: Any, sheet: Sheet, *, color: int = 1) -> str:
    """Return a thin bar: how far a value is on its way to a goal.

    Args:
        value, goal: Numbers; without a value, or with a goal that is not above zero, only the track is drawn. A value
            beyond the goal fills it, and a mark shows where the goal was.
        sheet: 8 pixels high, or as high as it says.
    """
    tokens = colors(sheet.theme)
    width, height = float(sheet.width), float(sheet.height)
    now, aim = drawn(value), drawn(goal)
    parts = [
        element(
            "rect",
            x=0.5,
            y=0.5,
            width=width - 1,
            height=height - 1,
            rx=height / 2,
            fill=tokens["shade"],
            stroke=tokens["border"],
            stroke_width=1,
        )
    ]
    if now is not None and aim is not None and aim > 0:
        share = max(now / aim, 0.0)
        reach = min(share, 1.0) * width
        if reach >= 1:
            parts.append(
                element(
                    "rect",
                    width=max(reach, height),
                    height=height,
                    rx=height / 2,
                    fill=tokens[f"series-{color}"],
                    class_="kck-reached",
                )
            )
        if share > 1:
            x = width / share
            mark = f"M{number(x)} 0V{number(height)}"
            parts.append(element("path", d=mark, stroke=tokens[sheet.surface], stroke_width=4))
            parts.append(element("path", d=mark, stroke=tokens["ink"], stroke_width=2, class_="kck-goal"))
    return picture(
        parts,
        width=width,
        height=height,
        id=sheet.id,
        title=sheet.title,
        description=sheet.description,
        theme=sheet.theme,
        surface=sheet.surface,
        tab_stop=sheet.tab_stop,
        kind="goal-bar",
    )
