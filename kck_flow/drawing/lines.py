"""Lines over time: a chart, a sparkline beside a number, small multiples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from ..entry import Point
from . import axes
from .axes import BELOW, line_key, plot_of
from .board import Board, Plot
from .cursor import cursor, stops_of, tenth
from .scales import Linear, Times
from .sheet import Annotation, Goal, Series, Sheet
from .strokes import Places, break_places, draw_gaps, draw_line, places_of, traced
from .svg import element, fit, number, text_width
from .table import aligned
from .traces import Trace


def lines(
    series: Sequence[Series],
    sheet: Sheet,
    *,
    goal: Goal | None = None,
    annotations: Sequence[Annotation] = (),
    zero: bool = True,
) -> str:
    """Return series over time as lines.

    Args:
        series: Up to eight are told apart. The names of two or more stand at the ends of their lines, or in a legend
            where those would not fit.
        goal: A line across, within the domain.
        annotations: Instants as lines, ranges as shades.
        zero: Whether the axis of values begins at zero (or ends there).
    """
    board = Board(sheet)
    traces = traced(series)
    spans = _spans(traces)
    notes = sum(axes.noted(one, spans) for one in annotations)
    lanes = axes.lanes_for(notes + any(one.breaks for one in traces))

    right, rows = _ends(board, series, sheet), []
    if len(series) > 1 and right is None:
        rows = axes.legend_rows(board, [one.name for one in series])
    plot = plot_of(board, traces, spans, rows, lanes, right or 12, zero=zero, goal=goal)
    labels = None
    if right is not None:
        labels = _label_places(plot, traces)
        if labels is None:
            rows = axes.legend_rows(board, [one.name for one in series])
            plot = plot_of(board, traces, spans, rows, lanes, 12, zero=zero, goal=goal)
    height = plot.bottom + BELOW

    axes.draw_ranges(board, plot, annotations)
    axes.draw_value_axis(board, plot, axes.labelled(board, plot.values))
    only = _only(traces)
    axes.draw_time_axis(board, plot, least=_least(traces), only=only)
    if labels is not None:
        for place, y in enumerate(labels):
            board.write(
                plot.right + 12,
                y + 4,
                fit(series[place].name, sheet.width - plot.right - 12),
                fill="muted" if series[place].compares else "ink",
            )
    axes.draw_legend(board, rows, lambda place, x, y: line_key(board, series[place], place, x, y))
    placed = [places_of(one, plot) for one in traces]
    axes.draw_notes(board, plot, annotations, break_places(traces, placed), lanes)
    # What the older range lacks is told by its line; on this one's axis it would be this one's lack.
    own = [place for place, one in enumerate(series) if not one.compares] or range(len(series))
    draw_gaps(board, plot, [traces[place] for place in own], [placed[place] for place in own])
    for place in sorted(range(len(series)), key=lambda at: (not series[at].compares, -at)):
        draw_line(
            board, plot, series[place], place, traces[place], placed[place], area=len(series) == 1 and zero
        )
    if goal is not None:
        axes.draw_goal(board, plot, goal)
    if not any(one.runs for one in traces):
        _say_none(board, plot)
    return board.picture(height, cursor(board, plot, series, traces))


def sparkline(points: Sequence[Point], sheet: Sheet, *, color: int = 1, zero: bool = False) -> str:
    """Return points as a line without axes, to stand beside a number.

    Args:
        points: Some thirty of them.
        color: 1 to 8.
        zero: Whether the line stands on zero; if not, it takes the whole height.
    """
    board = Board(sheet)
    series = [Series(sheet.title, points, color)]
    traces = traced(series)
    values = _bare(traces[0].low, traces[0].high, zero)
    start, end = _spans(traces)
    plot = Plot(
        5, 5, sheet.width - 6, sheet.height - 5, values, Times(start, end, 5, max(sheet.width - 11, 1))
    )
    placed = [places_of(traces[0], plot)]
    draw_gaps(board, plot, traces, placed, thick=2.5)
    draw_line(board, plot, series[0], 0, traces[0], placed[0], area=zero, thin=True)
    return board.picture(sheet.height, cursor(board, plot, series, traces), kind="sparkline")


def multiples(
    series: Sequence[Series], sheet: Sheet, *, zero: bool = True, panel: tuple[int, int] = (168, 104)
) -> str:
    """Return one small chart for each series, all of one scale, so that they can be compared.

    Args:
        series: As many as are to be told apart at a glance: the caller has chosen, and summed up the others.
        sheet: Its height is not heeded: it is as high as the rows of panels are.
        panel: The least width of a panel, and its height.
    """
    board = Board(sheet)
    traces = traced(series)
    spans = _spans(traces)
    across = max(1, min(len(series), sheet.width // panel[0]))
    down = max(math.ceil(len(series) / across), 1)
    across = max(math.ceil(len(series) / down), 1)  # rows as even as they get
    gap = 20.0
    width = (sheet.width - gap * (across - 1)) / across
    values = axes.value_scale(traces, 180, zero=zero, goal=None)
    high = fit(sheet.number(values.ticks[-1]), width * 0.4)
    low = fit(sheet.number(values.ticks[0]), width * 0.4)
    gutter = 6 + max(text_width(high, 11), text_width(low, 11))
    least = _least(traces)
    placed_all: list[Places] = []
    plots: list[Plot] = []
    for place, one in enumerate(series):
        left, top = (place % across) * (width + gap), (place // across) * panel[1]
        plot = Plot(
            left + gutter,
            top + 28,
            left + width - 6,
            top + panel[1] - 30,
            values,
            Times(*spans, left + gutter, max(width - gutter - 6, 1)),
        )
        plots.append(plot)
        _draw_panel(board, plot, one, place, traces, left, width, (low, high), least)
        placed_all.append(places_of(traces[place], plot))
        draw_gaps(board, plot, [traces[place]], [placed_all[-1]], thick=3)
        color = replace(one, color=one.color or 1)
        draw_line(board, plot, color, place, traces[place], placed_all[-1], area=zero, thin=True)
    data: dict[str, Any] | None = None
    if series and sheet.carries_cursor:
        found = aligned(series)
        first = plots[0]
        data = stops_of(
            board,
            first,
            series,
            found,
            [first.times.x(point.start) for point, _ in found],
            lambda place, value: plots[place].y(value),
        )
        # Each panel is where the first is, moved by this much.
        for at, plot in enumerate(plots):
            data["s"][at]["dx"] = tenth(plot.left - first.left)
            data["s"][at]["c"] = f"series-{series[at].color or 1}"
    return board.picture(max(down * panel[1], 1), data)


def _draw_panel(
    board: Board,
    plot: Plot,
    one: Series,
    place: int,
    traces: Sequence[Trace],
    left: float,
    width: float,
    ends: tuple[str, str],
    least: float | None,
) -> None:
    """Draw the name, the latest value, both ends of the scale and of time."""
    sheet = board.sheet
    found = traces[place]
    latest = "" if found.last is None else fit(sheet.number(found.points[found.last].value), width * 0.5)
    room = width - text_width(latest, bold=True) - 10
    board.write(left, plot.top - 14, fit(one.name, room, bold=True), fill="ink", bold=True)
    board.write(left + width - 6, plot.top - 14, latest, fill="ink", anchor="end")
    grid = "".join(f"M{number(plot.left)} {axes.half(y)}H{number(plot.right)}" for y in (plot.top,))
    board.add(
        element("path", d=grid, stroke=board.colors["grid"], stroke_width=1),
        element(
            "path",
            d=f"M{number(plot.left)} {axes.half(plot.bottom)}H{number(plot.right)}",
            stroke=board.colors["border"],
            stroke_width=1,
        ),
    )
    low, high = ends
    board.write(plot.left - 6, plot.top + 4, high, anchor="end", size=11)
    board.write(plot.left - 6, plot.bottom + 4, low, anchor="end", size=11)
    if least is not None:
        axes.draw_span(board, plot, least)


def _say_none(board: Board, plot: Plot) -> None:
    """Write that there is nothing to be seen."""
    middle = (plot.left + plot.right) / 2, (plot.top + plot.bottom) / 2 + 4, "middle"
    board.write_first_free([middle], board.sheet.gettext("no values"))


def _bare(low: float | None, high: float | None, zero: bool) -> Linear:
    """A domain that ends where the values end."""
    low, high = low or 0.0, high or 0.0
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low <= max(abs(low), abs(high)) * 1e-12:
        low, high = low - max(abs(low), 1), high + max(abs(high), 1)
    return Linear(float(low), float(high), ())


def _spans(traces: Sequence[Trace]) -> tuple[float, float]:
    """From the first to the last beginning of a point, in seconds."""
    starts = [each.timestamp() for one in traces if one.starts for each in (one.starts[0], one.starts[-1])]
    return (min(starts), max(starts)) if starts else (0.0, 0.0)


def _only(traces: Sequence[Trace]) -> datetime | None:
    """The instant at which all points begin, if it is one."""
    starts = {at for one in traces for at in (one.starts[:1] + one.starts[-1:])}
    return next(iter(starts)) if len(starts) == 1 else None


def _least(traces: Sequence[Trace]) -> float | None:
    """How long the shortest step is, in seconds, as far as the first hundred of each tell; None without points."""
    if not any(one.points for one in traces):
        return None
    return min(
        (
            (point.end - point.start).total_seconds()
            for one in traces
            for point in one.points[:100]
            if point.end > point.start
        ),
        default=1,
    )


def _ends(board: Board, series: Sequence[Series], sheet: Sheet) -> float | None:
    """How wide the names are that stand at the ends of lines; None where they would take too much."""
    if len(series) < 2 or sheet.narrow:
        return None
    wide = max(text_width(one.name) for one in series) + 16
    return wide if wide <= sheet.width * 0.26 else None


def _label_places(plot: Plot, traces: Sequence[Trace]) -> list[float] | None:
    """The heights of the names at the ends of lines; None where they would crowd."""
    wanted = []
    for one in traces:
        if one.last is None:
            return None
        wanted.append(plot.y(one.values[one.last]))
    return axes.spread(wanted, 15, plot.top, plot.bottom, 20)
