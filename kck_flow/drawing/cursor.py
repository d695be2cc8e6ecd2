"""What a script shows under the pointer and the arrow keys: the stops of a chart, as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .board import Board, Plot
from .scales import drawn
from .sheet import Series, Sheet, in_progress_from
from .table import Row, aligned, cells
from .traces import Trace, columns

STOPS = 120  # of a chart that has more points than pixels


def cursor(
    board: Board, plot: Plot, series: Sequence[Series], traces: Sequence[Trace]
) -> dict[str, Any] | None:
    """Return what a script shows; None where it is not wanted.

    ``x``: stops, in pixels; ``t``: what window each is; ``s``: of each series its name ``n``, its colour ``c``, what
    is said at each stop ``v``, and its height ``y`` (null where there is nothing). ``box``: left, top,
    right and bottom of the plot. Where a stop is of more than one point, it says the lowest and the highest, and has no
    heights.
    """
    sheet = board.sheet
    if not sheet.carries_cursor:
        return None
    most = max((len(one.starts) for one in traces), default=0)
    if most > plot.right - plot.left:
        return _of_columns(board, plot, series, traces)
    found = aligned(series)
    xs = [min(max(plot.times.x(point.start), plot.left), plot.right) for point, _ in found]
    return stops_of(
        board,
        plot,
        series,
        found,
        xs,
        lambda _place, value: plot.y(value),
    )


def stops_of(
    board: Board,
    plot: Plot,
    series: Sequence[Series],
    found: Sequence[Row],
    xs: Sequence[float],
    y: Callable[[int, float], float] | None,
) -> dict[str, Any]:
    """Return stops at rows of points, see ``cursor``.

    Args:
        xs: Where each row stands.
        y: How high a value of the nth series stands; None: nothing is shown at it.
    """
    sheet = board.sheet
    said = [cells(points, sheet) for _, points in found]
    told: list[dict[str, Any]] = []
    for place, one in enumerate(series):
        each: dict[str, Any] = {
            "n": one.name,
            "c": _token(board, one, place),
            "v": [row[place] for row in said],
        }
        if y is not None:
            heights: list[float | None] = []
            for _, points in found:
                point = points[place]
                value = drawn(point[0].value) if point else None
                heights.append(None if value is None else tenth(y(place, value)))
            each["y"] = heights
        told.append(each)
    return {
        "x": [tenth(x) for x in xs],
        "t": [sheet.moment_of(point) for point, _ in found],
        "s": told,
        "box": box_of(plot),
    }


def _token(board: Board, one: Series, place: int) -> str:
    return "border" if one.compares else f"series-{board.number(one, place) + 1}"


def tenth(place: float) -> int | float:
    """Return a place, rounded."""
    place = round(place, 1)
    return int(place) if place == int(place) else place


def _of_columns(
    board: Board, plot: Plot, series: Sequence[Series], traces: Sequence[Trace]
) -> dict[str, Any]:
    """Stops that are of several points each."""
    sheet = board.sheet
    width = max(math.ceil((plot.right - plot.left) / STOPS), 1)
    stops: dict[int, str] = {}
    said: list[dict[int, str]] = []
    for one in traces:
        mine: dict[int, str] = {}
        if one.starts:
            progress = in_progress_from(one.points)
            for column, first, end in columns(one.starts, 0, len(one.starts), plot.times, width):
                mine[column] = _said_of(sheet, one, first, end, progress)
                if column not in stops:
                    stops[column] = sheet.moment(
                        one.starts[first].astimezone(sheet.zone),
                        one.points[end - 1].end.astimezone(sheet.zone),
                    )
        said.append(mine)
    order = sorted(stops)
    return {
        "x": [tenth(min(plot.left + (column + 0.5) * width, plot.right)) for column in order],
        "t": [stops[column] for column in order],
        "s": [
            {
                "n": one.name,
                "c": _token(board, one, at),
                "v": [said[at].get(column, "–") for column in order],
            }
            for at, one in enumerate(series)
        ],
        "box": box_of(plot),
    }


def _said_of(sheet: Sheet, one: Trace, first: int, end: int, progress: int) -> str:
    if end - first == 1:
        return sheet.cell(one.points[first], in_progress=first >= progress)
    chunk = one.values[first:end]
    if one.gaps:
        chunk = [value for value in chunk if value is not None]
    if not chunk:
        return "–"
    low, high = min(chunk), max(chunk)
    return sheet.number(low) if low == high else f"{sheet.number(low)} … {sheet.number(high)}"


def box_of(plot: Plot) -> list[int | float]:
    """Return the edges of a plot: left, top, right, bottom."""
    return [tenth(edge) for edge in (plot.left, plot.top, plot.right, plot.bottom)]
