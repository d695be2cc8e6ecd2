"""What a stock held: from the records that its schedule writes, or that were kept when its value changed.

A record of a period holds from its beginning to its end, and no longer: a period without one is a gap. Which periods
were recorded, the family's own record says: a key that has none in such a period held nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from .. import spread
from ..entry import Point
from ..errors import NotPrimed
from ..key import Key
from ..stock import Stock
from ..store import records
from ..store.session import caller
from . import counted, traced


class _Past(NamedTuple):
    start: datetime
    end: datetime | None
    generation: int | None
    value: Any


def series(
    key: Key, stock: Stock, start: datetime, end: datetime, steps: Sequence[tuple[datetime, datetime]] | None,
    facet: str | None,
) -> list[Point]:  # fmt: skip
    """Return what a stock held over ``[start, end)``; see ``Cache.series``.

    Args:
        steps: (beginning, end) of each step; None for one point a record.

    Raises:
        ValueError: it has no such facet.
    """
    if facet is not None and facet not in [one.name for one in stock.facets]:
        names = ", ".join(one.name for one in stock.facets) or "none"
        raise ValueError(f"{stock.name!r} has no facet {facet!r}. Its facets are: {names}.")
    return _series(key, stock, _held(key, stock, start, end), start, end, steps, facet)


def series_many(
    asked: Sequence[tuple[Key, Stock]],
    start: datetime,
    end: datetime,
    steps: Sequence[tuple[datetime, datetime]],
) -> dict[Key, list[Point]]:
    """Return what several stocks held step by step, their totals: the records of all in one statement for each
    database; of those without, what their flows tell.
    """
    found: dict[Key, list[Point]] = {}
    unknown: list[tuple[Key, Stock, list[int]]] = []
    for alias in dict.fromkeys(spread.alias_of(stock) for _, stock in asked):
        own = [(key, stock) for key, stock in asked if spread.alias_of(stock) == alias]
        pairs = [(key, _marker(key, stock)) for key, stock in own]
        told = records.periods_many(caller(alias), pairs, start, end)
        for (key, stock), periods in zip(own, told, strict=True):
            found[key], places = _stepped(_decoded(stock, periods), end, steps, None)
            unknown.append((key, stock, places))
    _trace(found, unknown)
    return found


def _series(
    key: Key, stock: Stock, held: Sequence[_Past], start: datetime, end: datetime,
    steps: Sequence[tuple[datetime, datetime]] | None, facet: str | None,
) -> list[Point]:  # fmt: skip
    points = []
    if steps is None:
        for index, one in enumerate(held):
            ends = [one.end, held[index + 1].start if index + 1 < len(held) else None]
            over = min((at for at in ends if at is not None), default=None)
            until = min(over or end, end)
            if until > start:
                points.append(
                    Point(max(one.start, start), until, _part(one, facet), until == over, one.generation)
                )
        return points
    points, unknown = _stepped(held, end, steps, facet)
    _trace({key: points}, [(key, stock, unknown)])
    return points


def _stepped(
    held: Sequence[_Past], end: datetime, steps: Sequence[tuple[datetime, datetime]], facet: str | None
) -> tuple[list[Point], list[int]]:
    """Return the points of steps, and which of them were not recorded and may be told by flows."""
    points: list[Point] = []
    position, last = 0, None
    unknown: list[int] = []
    for begin, finish in steps:
        while position < len(held) and held[position].start < finish:
            last, position = held[position], position + 1
        there = last if last is not None and (last.end is None or last.end > begin) else None
        value = _part(there, facet) if there is not None else None
        if there is None and facet is None:
            unknown.append(len(points))
        points.append(
            Point(begin, finish, value, finish <= end, there.generation if there is not None else None)
        )
    return points, unknown


def _trace(found: Mapping[Key, list[Point]], unknown: Sequence[tuple[Key, Stock, Sequence[int]]]) -> None:
    """Put in what stocks held at the beginning of steps that were not recorded, where their flows tell."""
    asked = [one for one in unknown if one[2]]
    told = traced.values_many(
        [(key, stock, [found[key][place].start for place in places]) for key, stock, places in asked]
    )
    for (key, stock, places), values in zip(asked, told, strict=True):
        of = counted.definition_of(stock, spread.alias_of(stock))
        for place, value in zip(places, values, strict=True):
            if not isinstance(value, traced.Untold) and of is not None:
                found[key][place] = replace(found[key][place], value=value, generation=of.generation)


def value_at(key: Key, stock: Stock, at: datetime) -> Any:
    """Return what a stock held at ``at``: its value in the period that this lies in, as recorded; where it was not, how
    many rows its flows tell of, by no facet.

    Raises:
        NotPrimed: that period was not recorded, and its flows do not tell.
    """
    held = [one for one in _held(key, stock, at, at + timedelta(microseconds=1)) if one.start <= at]
    if held and (held[-1].end is None or held[-1].end > at):
        return held[-1].value
    told = traced.values(key, stock, [at])[0]
    if not isinstance(told, traced.Untold):
        return {"value": told, "facets": {}}
    last = f" The last record before is of {held[-1].start.isoformat()}." if held else ""
    how = (
        ""
        if stock.schedule is not None
        else f" Give {stock.name!r} a schedule, every(days=1), to have records."
    )
    nor = f" Its flows do not tell either: {told.why}." if told.why else ""
    raise NotPrimed(f"Nothing of {str(key)!r} was recorded for {at.isoformat()}.{last}{nor}{how}")


def last_recorded(stock: Stock) -> datetime | None:
    """Return the beginning of the period that was recorded last, of any key; None where none was."""
    return records.last(caller(spread.alias_of(stock)), stock.name)


def _held(key: Key, stock: Stock, start: datetime, end: datetime) -> list[_Past]:
    return _decoded(
        stock, records.periods(caller(spread.alias_of(stock)), key, _marker(key, stock), start, end)
    )


def _marker(key: Key, stock: Stock) -> Key:
    """Return whose records say when a stock was recorded."""
    return records.marker(stock.name) if stock.parameters and counted.captured(stock) is not None else key


def _decoded(stock: Stock, periods: Sequence[records.Period]) -> list[_Past]:
    nothing = stock.shape.display([]) if not all(one.known for one in periods) else None
    return [
        _Past(
            one.start,
            one.end,
            one.generation,
            stock.codec.decode(one.text) if one.text is not None else nothing if not one.known else None,
        )
        for one in periods
    ]


def _part(past: _Past, facet: str | None) -> Any:
    """Return a value's total, or one of its facets; None of a record from before there was that facet."""
    if past.value is None:
        return None
    return past.value["value"] if facet is None else past.value["facets"].get(facet)
