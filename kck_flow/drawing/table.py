"""The numbers of a chart as a table: the same that are drawn, in the same words that the cursor says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import lt

from ..entry import Point
from .sheet import Series, Sheet, in_progress_from

Row = tuple[Point, list[tuple[Point, bool] | None]]


@dataclass(frozen=True, slots=True)
class Table:
    """What stands in a table.

    Attributes:
        header: Of the columns: when, then the name of each series.
        rows: Oldest first, each as long as ``header``: the window, then the value of each series, as
            ``42``, ``42 (in progress)`` or ``–`` where there is none.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def table(series: Sequence[Series], sheet: Sheet | None = None) -> Table:
    """Return the numbers of a chart: one row for each step of time that any of its series has.

    Args:
        series: As the chart is given them; what compares stands beside what it is compared with.
        sheet: Says numbers and times.
    """
    sheet = sheet or Sheet()
    return Table(
        (sheet.gettext("When"), *(one.name for one in series)),
        tuple((sheet.moment_of(point), *cells(found, sheet)) for point, found in aligned(series)),
    )


def cells(found: list[tuple[Point, bool] | None], sheet: Sheet) -> list[str]:
    """Return what is said of the points of one row."""
    return ["–" if one is None else sheet.cell(one[0], in_progress=one[1]) for one in found]


def aligned(series: Sequence[Series]) -> list[Row]:
    """Return the points of series by time: for each step a point that says when it is, and of each series its point and
    whether an incomplete one is still in progress, or None where the series has no such step.

    The nth point of a series that compares stands beside the nth of the first that does not.
    """
    if (rows_at_once := _side_by_side(series)) is not None:
        return rows_at_once
    rows: dict[tuple[float, int], Row] = {}
    first: list[tuple[float, int]] | None = None
    alone = all(one.compares for one in series)  # with nothing to be compared with
    for place, one in sorted(enumerate(series), key=lambda placed: placed[1].compares):
        points = sorted(one.points, key=lambda point: point.start.timestamp())
        keys = list(first or ()) if one.compares and not alone else _keys(points)
        if first is None:
            first = keys
        progress = in_progress_from(points)
        for at, (key, point) in enumerate(zip(keys, points, strict=False)):
            row = rows.setdefault(key, (point, [None] * len(series)))
            row[1][place] = point, at >= progress
    return [rows[key] for key in sorted(rows)]


def _side_by_side(series: Sequence[Series]) -> list[Row] | None:
    """The rows of series that have the same steps, in order, as most have; None where they have not."""
    first = next((one.points for one in series if not one.compares), None)
    if first is None:
        return None
    starts = [point.start for point in first]
    if not all(map(lt, starts, starts[1:])):
        return None
    for one in series:
        own = [point.start for point in one.points]
        if len(own) != len(starts) or not (all(map(lt, own, own[1:])) if one.compares else own == starts):
            return None
    progress = [in_progress_from(one.points) for one in series]
    found = [
        [(point, at >= since) for at, point in enumerate(one.points)]
        for one, since in zip(series, progress, strict=True)
    ]
    return [(point, list(row)) for point, row in zip(first, zip(*found, strict=True), strict=True)]


def _keys(points: Sequence[Point]) -> list[tuple[float, int]]:
    """When each begins, and how many before it begin then, too."""
    keys: list[tuple[float, int]] = []
    for point in points:
        seconds = point.start.timestamp()
        again = keys[-1][1] + 1 if keys and keys[-1][0] == seconds else 0
        keys.append((seconds, again))
    return keys
