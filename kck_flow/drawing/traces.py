"""From points to lines: what is joined, what is not, and no more of it than a screen can show."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import gt
from typing import Any

from ..entry import Point
from .scales import FURTHEST, Times, drawn


@dataclass(slots=True)
class Trace:
    """The points of a series in order, as lists of equal length.

    Attributes:
        starts: When each begins.
        values: What is drawn of it; None where there is none.
        low, high: The least and the greatest value, or None where there is none at all.
        open: Indices of those that are not complete, rising.
        runs: ``(first, end)`` of each stretch that one line joins: no gap in it, one generation.
        breaks: Pairs of indices of values between which the generation changes.
        gaps: ``(first, end)`` of each stretch without a value.
    """

    points: Sequence[Point]
    starts: list[datetime]
    values: list[Any]
    low: float | None
    high: float | None
    open: list[int]
    runs: list[tuple[int, int]]
    breaks: list[tuple[int, int]]
    gaps: list[tuple[int, int]]

    @property
    def last(self) -> int | None:
        """The index of the last value."""
        return self.runs[-1][1] - 1 if self.runs else None


def trace(points: Sequence[Point]) -> Trace:
    """Return the points of a series, ready to be drawn."""
    starts = [point.start for point in points]
    if any(map(gt, starts, starts[1:])):
        points = sorted(points, key=lambda point: point.start.timestamp())
        starts = [point.start for point in points]
    values = [point.value for point in points]
    low, high = _limits(values)
    whole = low is not None
    if not whole:
        values = [drawn(value) for value in values]
        there = [value for value in values if value is not None]
        low, high = min(there, default=None), max(there, default=None)
    complete = [point.complete for point in points]
    opened = [] if all(complete) else [at for at, one in enumerate(complete) if not one]
    generations = [point.generation for point in points]
    if whole and generations.count(generations[0]) == len(generations):
        apart: _Apart = [(0, len(values))], [], []
    else:
        apart = _apart(values, generations)
    return Trace(points, starts, values, low, high, opened, *apart)


def _limits(values: list[Any]) -> tuple[float | None, float | None]:
    """The least and the greatest of values that are all plain finite numbers; None: they are looked at one by one."""
    try:
        total = sum(values)  # of None it cannot be made, and NaN and infinity stay in it
        if type(total) not in (int, float) or not values or not math.isfinite(total):
            return None, None
    except (TypeError, ArithmeticError):
        return None, None
    low, high = min(values), max(values)
    return (low, high) if low >= -FURTHEST and high <= FURTHEST else (None, None)


_Apart = tuple[list[tuple[int, int]], list[tuple[int, int]], list[tuple[int, int]]]


def _apart(values: list[Any], generations: list[int | None]) -> _Apart:
    """Runs, breaks and gaps."""
    runs: list[tuple[int, int]] = []
    breaks: list[tuple[int, int]] = []
    gaps: list[tuple[int, int]] = []
    last = -1  # the value before
    for at, value in enumerate(values):
        if value is None:
            if gaps and gaps[-1][1] == at:
                gaps[-1] = gaps[-1][0], at + 1
            else:
                gaps.append((at, at + 1))
            continue
        broken = last >= 0 and generations[at] != generations[last]
        if broken:
            breaks.append((last, at))
        if runs and runs[-1][1] == at and not broken:
            runs[-1] = runs[-1][0], at + 1
        else:
            runs.append((at, at + 1))
        last = at
    return runs, breaks, gaps


def stretches(run: tuple[int, int], opened: list[int]) -> list[tuple[int, int, bool]]:
    """Return a run as ``(first, end, dashed)``, each beginning with the point that the one before ends with.

    What leads to an incomplete point is dashed.
    """
    first, end = run
    inside = opened[bisect_left(opened, first) : bisect_left(opened, end)]
    found: list[tuple[int, int, bool]] = []
    at = first
    for begin, stop in _neighbours(inside):
        begin = max(begin - 1, first)
        if begin > at:
            found.append((at, begin + 1, False))
        if stop - begin > 1:
            found.append((begin, stop, True))
        at = stop - 1
    if end - at > 1 or not found:
        found.append((at, end, False))
    return found


def _neighbours(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Yield ``(first, end)`` of each stretch of numbers that follow each other."""
    begin = stop = -1
    for number in numbers:
        if number != stop:
            if stop >= 0:
                yield begin, stop
            begin = number
        stop = number + 1
    if stop >= 0:
        yield begin, stop


# ---------------------------------------------------------------------------------------------------------- decimation

Column = tuple[int, int, int]  # its number, and the first and the end of the points in it
Extremes = tuple[
    int, float, float, float, float
]  # its number; the first value, the lowest, the highest and the last


def columns(starts: Sequence[datetime], first: int, end: int, times: Times, width: int = 1) -> list[Column]:
    """Return the columns of pixels that points lie in, and which points those are.

    Args:
        starts: When the points begin, rising; those from ``first`` to ``end``.
        width: Of a column, in pixels; column 0 begins where the times begin.
    """
    edges = times.edges(width, starts[first].tzinfo)
    number = max(bisect_right(edges, starts[first]), 1)
    usual = 4 * (end - first) // len(edges) + 4  # how many points a column has at most, usually
    found: list[Column] = []
    at = first
    while at < end:
        if number >= len(edges):  # what is left lies on the last edge
            found.append((number - 1, at, end))
            break
        edge = edges[number]
        near = min(at + usual, end)
        if near < end and starts[near] < edge:
            near = end
        stop = bisect_left(starts, edge, at, near)
        if stop > at:
            found.append((number - 1, at, stop))
            at = stop
        number += 1
    return found


def decimated(values: Sequence[Any], cuts: Sequence[Column]) -> list[Extremes]:
    """Return of each column of a line all that can be seen of it."""
    found: list[Extremes] = []
    add = found.append
    for number, first, end in cuts:
        chunk = values[first:end]
        add((number, chunk[0], min(chunk), max(chunk), chunk[-1]))
    return found
