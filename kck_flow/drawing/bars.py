"""Bars over time: beside each other or stacked; gains above the axis and losses below it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from . import axes
from .axes import BELOW, marker, plot_of
from .board import Board, Plot
from .cursor import stops_of
from .scales import FURTHEST, drawn
from .sheet import Annotation, Goal, Series, Sheet
from .strokes import dense_path, draw_missing
from .svg import element, number, path
from .table import Row, aligned
from .traces import Column, decimated, stretches


def bars(
    series: Sequence[Series],
    sheet: Sheet,
    *,
    stacked: bool = False,
    goal: Goal | None = None,
    annotations: Sequence[Annotation] = (),
) -> str:
    """Return series over time as bars, beside each other or stacked; those that are not complete are hatched.

    Where there are more steps than pixels for bars, each bar is the greatest of some.
    """
    return _bars(series, sheet, [1.0] * len(series), stacked=stacked, goal=goal, annotations=annotations)


def gains_and_losses(
    gains: Sequence[Series],
    losses: Sequence[Series],
    net: Series | None,
    sheet: Sheet,
    *,
    goal: Goal | None = None,
    annotations: Sequence[Annotation] = (),
) -> str:
    """Return what came in stacked above the axis, what went out stacked below it, and the net of both as a line.

    Args:
        gains, losses: Values of 0 or more.
        net: What remains of both, or None for no line.
    """
    warm = (2, 4, 8, 6)  # so that gains and losses differ in hue, too
    cool = (1, 3, 7, 5)
    colored = [
        replace(one, color=one.color or hues[at % 4])
        for hues, group in ((cool, gains), (warm, losses))
        for at, one in enumerate(group)
    ]
    signs = [1.0] * len(gains) + [-1.0] * len(losses)
    return _bars(colored, sheet, signs, stacked=True, goal=goal, annotations=annotations, net=net)


def _bars(
    series: Sequence[Series],
    sheet: Sheet,
    signs: Sequence[float],
    *,
    stacked: bool,
    goal: Goal | None,
    annotations: Sequence[Annotation],
    net: Series | None = None,
) -> str:
    board = Board(sheet)
    shown = [*series, net] if net else list(series)
    found = aligned(shown)
    layers = [[_layer(row[1][at], sign) for row in found] for at, sign in enumerate(signs)]
    start = min((point.start.timestamp() for point, _ in found), default=0.0)
    end = max((point.end.timestamp() for point, _ in found), default=0.0)
    more = _extremes(layers, stacked)
    if net:
        more += [value for row in found if (value := _layer(row[1][-1], 1.0)) is not None]
    rows = axes.legend_rows(board, [one.name for one in shown]) if len(shown) > 1 else []
    lanes = axes.lanes_for(sum(axes.noted(one, (start, end)) for one in annotations))
    plot = plot_of(board, [], (start, end), rows, lanes, 6, zero=True, goal=goal, more=more)

    axes.draw_ranges(board, plot, annotations)
    axes.draw_value_axis(board, plot, axes.labelled(board, plot.values))
    bands = [(plot.times.x(point.start), plot.times.x(point.end)) for point, _ in found]
    hatched = _Hatches(board)
    chosen = _chosen(bands, layers, stacked, plot, len(series))
    draw = _draw_stack if stacked else _draw_group
    for one in chosen:
        draw(board, plot, series, layers, found, one, hatched)
    hatched.draw()
    middles = {
        point.start: (left + right) / 2 for (point, _), (left, right) in zip(found, bands, strict=True)
    }
    axes.draw_time_axis(
        board,
        plot,
        least=min(((point.end - point.start).total_seconds() for point, _ in found[:100]), default=None),
        label_at=lambda at: middles.get(at, plot.times.x(at)),
        only=found[0][0].start if len(found) == 1 else None,
        within=True,
    )
    missing = [
        band
        for band, (_, points) in zip(bands, found, strict=True)
        if any(point is None or drawn(point[0].value) is None for point in points[: len(series)])
    ]
    draw_missing(board, plot.bottom, [(left, max(right, left + 2)) for left, right in missing])
    if net:
        _draw_net(board, plot, net, len(series), [(left + right) / 2 for left, right in bands], found)
    axes.draw_legend(
        board,
        rows,
        lambda place, x, y: (
            _net_key(board, x, y)
            if place == len(series)
            else axes.block_key(board.color(series[place], place), x, y)
        ),
    )
    axes.draw_notes(board, plot, annotations, [], lanes)
    if goal is not None:
        axes.draw_goal(board, plot, goal)
    data: dict[str, Any] | None = None
    if sheet.carries_cursor:
        indices = [one[2] for one in chosen]
        data = stops_of(
            board,
            plot,
            shown,
            [found[at] for at in indices],
            [(bands[at][0] + bands[at][1]) / 2 for at in indices],
            None,
        )
    return board.picture(plot.bottom + BELOW, data)


def _layer(found: tuple[Any, bool] | None, sign: float) -> float | None:
    value = drawn(found[0].value) if found else None
    return None if value is None else value * sign


def _extremes(layers: Sequence[Sequence[float | None]], stacked: bool) -> list[float]:
    """How far bars reach."""
    if not stacked:
        there = [value for layer in layers for value in layer if value is not None]
        return [min(there), max(there)] if there else []
    ends: list[float] = []
    for row in zip(*layers, strict=True):
        there = [value for value in row if value is not None]
        ends.append(min(sum(value for value in there if value > 0), FURTHEST))
        ends.append(max(sum(value for value in there if value < 0), -FURTHEST))
    return [min(ends), max(ends)] if ends else []


Chosen = tuple[float, float, int]  # from, to, and which row


def _chosen(
    bands: Sequence[tuple[float, float]],
    layers: Sequence[Sequence[float | None]],
    stacked: bool,
    plot: Plot,
    number_of: int,
) -> list[Chosen]:
    """Which rows are drawn, and between which places: all, or of each few pixels those that reach furthest."""
    least = 2.5 if stacked else 2.5 * max(number_of, 1)
    if len(bands) * least <= plot.right - plot.left:
        found = []
        for at, (left, right) in enumerate(bands):
            gap = min(max((right - left) * 0.14, 0.5), 6)
            found.append((left + gap, max(right - gap, left + gap + 0.5), at))
        return found
    width = max(least, 3.0)
    groups: dict[int, list[int]] = {}
    for at, (left, right) in enumerate(bands):
        groups.setdefault(int(((left + right) / 2 - plot.left) / width), []).append(at)
    chosen: list[Chosen] = []
    for column, members in groups.items():
        left = plot.left + column * width
        if left + width > plot.right + 0.5:
            left = max(plot.right - width, plot.left)
        best = max(members, key=lambda at: _reach(layers, at, stacked))
        chosen.append((left + 0.25, left + width - 0.25, best))
    return chosen


def _reach(layers: Sequence[Sequence[float | None]], at: int, stacked: bool) -> float:
    there = [abs(layer[at] or 0.0) for layer in layers]
    return (sum(there) if stacked else max(there, default=0.0)) if there else 0.0


class _Hatches:
    """Bars by what they are painted with, each kind drawn as one path."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.filled: dict[str, list[str]] = {}
        self.open: dict[str, list[str]] = {}

    def add(self, color: str, data: str, complete: bool) -> None:
        """Draw a bar: filled, or hatched."""
        (self.filled if complete else self.open).setdefault(color, []).append(data)

    def draw(self) -> None:
        """Draw all bars that were added."""
        board = self.board
        for color, data in self.filled.items():
            board.add(element("path", d="".join(data), fill=color, class_="kck-bar"))
        for at, (color, data) in enumerate(self.open.items()):
            name = f"{board.sheet.id}-hatch-{at + 1}"
            board.add(
                element("defs", hatch(name, color, board.surface)),
                element(
                    "path",
                    d="".join(data),
                    fill=f"url(#{name})",
                    stroke=color,
                    stroke_width=1,
                    stroke_dasharray="3 2",
                    class_="kck-open",
                ),
            )


def hatch(id: str, color: str, surface: str) -> str:
    """Return a pattern of slanted lines."""
    return element(
        "pattern",
        element("rect", width=6, height=6, fill=surface),
        element("path", d="M-1 1l2 -2M0 6l6 -6M5 7l2 -2", stroke=color, stroke_width=1.25),
        id=id,
        width=6,
        height=6,
        patternUnits="userSpaceOnUse",
    )


def _bar(left: float, right: float, base: float, tip: float, *, round_tip: bool = True) -> str:
    """The outline of a bar, its corners round at the tip."""
    radius = min(2.5, (right - left) / 3, abs(tip - base)) if round_tip else 0.0
    if radius < 0.6:
        return f"M{number(left)} {number(base)}V{number(tip)}H{number(right)}V{number(base)}Z"
    r = number(radius)
    side = radius if tip < base else -radius
    sweep = 1 if tip < base else 0
    return (
        f"M{number(left)} {number(base)}V{number(tip + side)}a{r} {r} 0 0 {sweep} {r} {number(-side)}"
        f"H{number(right - radius)}a{r} {r} 0 0 {sweep} {r} {number(side)}V{number(base)}Z"
    )


def _draw_stack(
    board: Board,
    plot: Plot,
    series: Sequence[Series],
    layers: Sequence[Sequence[float | None]],
    found: Sequence[Row],
    chosen: Chosen,
    bars_of: _Hatches,
) -> None:
    left, right, at = chosen
    up = down = 0.0
    reaching = {(layers[place][at] or 0.0) > 0: place for place in range(len(series)) if layers[place][at]}
    for place, one in enumerate(series):
        value = layers[place][at]
        if value is None or value == 0:
            continue
        base = up if value > 0 else down
        tip = min(max(base + value, -FURTHEST), FURTHEST)
        low, high = plot.y(base), plot.y(tip)
        if base and abs(high - low) > 2:
            low += -1 if value > 0 else 1  # a hair between what is stacked
        point = found[at][1][place]
        bars_of.add(
            board.color(one, place),
            _bar(left, right, low, high, round_tip=reaching[value > 0] == place),
            point is None or point[0].complete,
        )
        if value > 0:
            up = tip
        else:
            down = tip


def _draw_group(
    board: Board,
    plot: Plot,
    series: Sequence[Series],
    layers: Sequence[Sequence[float | None]],
    found: Sequence[Row],
    chosen: Chosen,
    bars_of: _Hatches,
) -> None:
    left, right, at = chosen
    width = (right - left) / max(len(series), 1)
    for place, one in enumerate(series):
        value = layers[place][at]
        if value is None:
            continue
        tip = plot.y(value)
        if abs(tip - plot.zero) < 1.5:
            tip = plot.zero - 1.5 if value >= 0 else plot.zero + 1.5  # zero is a value, and is seen
        hair = 0.5 if width > 4 and len(series) > 1 else 0
        point = found[at][1][place]
        begin = left + place * width
        bars_of.add(
            board.color(one, place),
            _bar(begin + hair, begin + width - hair, plot.zero, tip),
            point is None or point[0].complete,
        )


def _draw_net(
    board: Board, plot: Plot, net: Series, place: int, middles: Sequence[float], found: Sequence[Row]
) -> None:
    """Draw the line of what remains, above the bars."""
    ink, surface = board.colors["ink"], board.surface
    values = [_layer(row[1][place], 1.0) for row in found]
    runs: list[list[int]] = []
    for at, value in enumerate(values):
        if value is None:
            continue
        if runs and runs[-1][-1] == at - 1:
            runs[-1].append(at)
        else:
            runs.append([at])
    opened = [at for at, row in enumerate(found) if (point := row[1][place]) and not point[0].complete]
    solid: list[str] = []
    dashed: list[str] = []
    for run in runs:
        for begin, stop, is_dashed in stretches((run[0], run[-1] + 1), opened):
            if stop - begin == 1:
                solid.append(f"M{number(middles[begin])} {number(plot.y(values[begin] or 0.0))}h0")
                continue
            data = _decimated_net(plot, middles, values, begin, stop)
            (dashed if is_dashed else solid).append(data)
    whole = "".join(solid)
    common = {"fill": "none", "stroke_linejoin": "round", "stroke_linecap": "round"}
    board.add(element("path", d=whole + "".join(dashed), stroke=surface, stroke_width=5, **common))
    if whole:
        board.add(element("path", d=whole, stroke=ink, stroke_width=2, class_="kck-line", **common))
    if dashed:
        board.add(
            element(
                "path",
                d="".join(dashed),
                stroke=ink,
                stroke_width=2,
                stroke_dasharray="1 4",
                class_="kck-open",
                **common,
            )
        )
    if runs:
        last = runs[-1][-1]
        hollow = surface if last in opened else None
        board.add(marker(0, middles[last], plot.y(values[last] or 0.0), color=ink, hollow=hollow))


def _decimated_net(
    plot: Plot, middles: Sequence[float], values: Sequence[float | None], begin: int, stop: int
) -> str:
    if stop - begin <= 2 * (middles[stop - 1] - middles[begin] + 2):
        return path([(middles[at], plot.y(values[at] or 0.0)) for at in range(begin, stop)])
    cuts: list[Column] = []
    for at in range(begin, stop):
        column = math.floor(middles[at]) - round(plot.left)
        if cuts and cuts[-1][0] == column:
            cuts[-1] = column, cuts[-1][1], at + 1
        else:
            cuts.append((column, at, at + 1))
    return dense_path(plot, decimated(values, cuts))


def _net_key(board: Board, x: float, y: float) -> str:
    ink = board.colors["ink"]
    return element("path", d=f"M{number(x)} {number(y)}h18", stroke=ink, stroke_width=2) + marker(
        0, x + 9, y, color=ink
    )
