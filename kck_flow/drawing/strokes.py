"""What data is drawn with: lines solid, dashed and broken, markers, dots, marks of what is missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

from .axes import marker
from .board import Board, Plot
from .palette import DASHES
from .sheet import Series
from .svg import element, number, path
from .traces import Extremes, Trace, columns, decimated, stretches, trace

Places = Callable[[int], float]  # where the nth point of a series lies from left to right


def traced(series: Sequence[Series]) -> list[Trace]:
    """Return the points of series; those of one that compares begin when those of the first do, if it has as many."""
    traces = [trace(one.points) for one in series]
    first = next((found for found, one in zip(traces, series, strict=True) if not one.compares), None)
    for at, one in enumerate(series):
        if one.compares and first is not None:
            number_of = min(len(first.starts), len(traces[at].starts))
            if number_of < len(traces[at].starts):
                traces[at] = trace(traces[at].points[:number_of])
            traces[at].starts = first.starts[:number_of]
    return traces


def places_of(one: Trace, plot: Plot) -> Places:
    """Return where the nth point of a series lies from left to right."""
    x, starts = plot.times.x, one.starts
    return lambda at: x(starts[at])


def draw_line(
    board: Board,
    plot: Plot,
    series: Series,
    place: int,
    one: Trace,
    x: Places,
    *,
    area: bool = False,
    thin: bool = False,
) -> None:
    """Draw the runs of a series: solid, dashed towards what is not complete; dots where a point stands alone."""
    color = board.color(series, place)
    solid: list[str] = []
    dashed: list[str] = []
    below: list[str] = []
    dots: list[tuple[float, float]] = []
    dense = False
    for run in one.runs:
        first, end = run
        if end - first == 1:
            dots.append((x(first), plot.y(one.values[first])))
            continue
        for begin, stop, is_dashed in stretches(run, one.open):
            left, right = x(begin), x(stop - 1)
            if stop - begin > 2 * (right - left + 2):
                dense = True
                cuts = columns(one.starts, begin, stop, plot.times)
                (dashed if is_dashed else solid).append(dense_path(plot, decimated(one.values, cuts)))
                continue
            found = list(zip(map(x, range(begin, stop)), plot.ys(one.values[begin:stop]), strict=True))
            board.lines.append(found)
            data = path(found)
            (dashed if is_dashed else solid).append(data)
            if area:
                below.append(f"{data}V{number(plot.zero)}H{number(left)}Z")
    width = 1.5 if series.compares or thin or dense else 2
    common = {"fill": "none", "stroke": color, "stroke_linejoin": "round", "stroke_width": width}
    if below:
        board.add(element("path", d="".join(below), fill=color, fill_opacity="0.1"))
    if solid:
        dash = DASHES[board.number(series, place)] if not series.compares else ""
        board.add(
            element("path", d="".join(solid), class_="kck-line", stroke_dasharray=dash or None, **common)
        )
    if dashed:
        board.add(element("path", d="".join(dashed), class_="kck-open", stroke_dasharray="2.5 3.5", **common))
    _draw_dots(board, plot, series, place, one, x, dots, thin=thin)


@lru_cache(16)
def _tenths(pixels: int) -> tuple[str, ...]:
    """Each tenth of a pixel as it is written: looked up rather than written anew, since there are thousands."""
    return tuple(number(tenth / 10) for tenth in range(pixels * 10 + 2))


def dense_path(plot: Plot, found: Sequence[Extremes]) -> str:
    """Return the data of a path through columns: from the first value of each by its extremes to its last."""
    written = _tenths(math.ceil(plot.bottom))
    scale = (plot.bottom - plot.top) * 10 / (plot.values.high - plot.values.low)
    base, least = plot.bottom * 10 + 0.5, plot.values.low
    left = round(plot.left)
    pieces: list[str] = []
    add = pieces.append
    for column, begin, low, high, last in found:
        first = written[int(base - (begin - least) * scale)]
        if low == high:
            add(f"{left + column} {first}")
            continue
        bottom, top = written[int(base - (low - least) * scale)], written[int(base - (high - least) * scale)]
        end = written[int(base - (last - least) * scale)]
        down = f"V{bottom}" if bottom != first else ""
        up = f"V{top}" if top != bottom else ""
        add(
            f"{left + column} {first}{down}{up}V{end}" if end != top else f"{left + column} {first}{down}{up}"
        )
    return "M" + "L".join(pieces)


def _draw_dots(
    board: Board,
    plot: Plot,
    series: Series,
    place: int,
    one: Trace,
    x: Places,
    dots: list[tuple[float, float]],
    *,
    thin: bool,
) -> None:
    """Draw what stands alone, the hollow points of what is not complete or was told afterwards, and the end."""
    color, number_of = board.color(series, place), board.number(series, place)
    surface = board.surface
    seen: set[str] = set()
    for at, y in dots:
        seen.add(f"M{number(at)} {number(y)}h0")
    if seen:
        board.add(
            element(
                "path",
                d="".join(sorted(seen)) if len(seen) > 1 else seen.pop(),
                class_="kck-dot",
                stroke=color,
                stroke_width=3 if thin else 4,
                stroke_linecap="round",
            )
        )
    if series.compares or one.last is None:
        return
    radius = 2.5 if thin else 3.5
    hollow = set(one.open)
    if series.reconstructed:
        told = {at.timestamp() for at in series.reconstructed}
        hollow |= {at for at, start in enumerate(one.starts) if start.timestamp() in told}
    before = -math.inf
    for at in sorted(hollow - {one.last}):
        value = one.values[at]
        if value is not None and x(at) - before >= 3 * radius:
            before = x(at)
            board.add(
                marker(number_of, before, plot.y(value), color=color, hollow=surface, radius=radius - 0.5)
            )
    end = x(one.last), plot.y(one.values[one.last])
    board.boxes.append((end[0] - 6, end[1] - 6, end[0] + 6, end[1] + 6))
    board.add(
        marker(number_of, *end, color=color, hollow=surface if one.last in hollow else None, radius=radius)
    )


def break_places(traces: Sequence[Trace], placed: Sequence[Places]) -> list[float]:
    """Return where definitions change, from left to right, once for each pixel."""
    found = {round((x(a) + x(b)) / 2) for one, x in zip(traces, placed, strict=True) for a, b in one.breaks}
    return [float(x) for x in sorted(found)]


def draw_gaps(
    board: Board, plot: Plot, traces: Sequence[Trace], placed: Sequence[Places], *, thick: float = 4
) -> None:
    """Mark on the base line where values are missing, however short that is."""
    spans: list[tuple[float, float]] = []
    for one, x in zip(traces, placed, strict=True):
        last = len(one.starts) - 1
        for first, end in one.gaps:
            left = (x(max(first - 1, 0)) + x(first)) / 2
            right = (x(end - 1) + x(min(end, last))) / 2
            spans.append((left, max(right, left + 2)))
    draw_missing(board, plot.bottom, spans, thick=thick)


def draw_missing(board: Board, y: float, spans: list[tuple[float, float]], *, thick: float = 4) -> None:
    """Draw dotted marks on a base line, those together that meet."""
    merged: list[tuple[float, float]] = []
    for left, right in sorted(spans):
        if merged and left <= merged[-1][1] + 0.5:
            merged[-1] = merged[-1][0], max(right, merged[-1][1])
        else:
            merged.append((left, right))
    if merged:
        board.add(
            element(
                "path",
                d="".join(f"M{number(left)} {number(y)}H{number(right)}" for left, right in merged),
                class_="kck-gap",
                stroke=board.colors["muted"],
                stroke_width=thick,
                stroke_dasharray="2 2.5",
            )
        )
