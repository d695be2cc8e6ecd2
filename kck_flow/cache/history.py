"""What a product held, from its records: as a series, or at an instant."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta
from django.conf import settings

from .. import spread
from ..entry import Point
from ..errors import NotPrimed
from ..key import Key
from ..registry import registry
from ..stock import Stock
from ..store import records
from ..store.session import caller
from ..windows import first_instant
from . import past

STEPS = {
    "hour": relativedelta(hours=1),
    "day": relativedelta(days=1),
    "week": relativedelta(weeks=1),
    "month": relativedelta(months=1),
    "year": relativedelta(years=1),
}


def bounds(start: datetime, end: datetime) -> None:
    """Raise ValueError unless these are two aware instants, the first before the second."""
    for name, at in (("start", start), ("end", end)):
        if not isinstance(at, datetime) or at.tzinfo is None:
            raise ValueError(f"{name} must be an aware instant, not {at!r}.")
    if start >= end:
        raise ValueError(f"start ({start}) must be before end ({end}).")


def aware(at: datetime) -> datetime:
    """Return an instant. Raises ValueError: it is none, or naive."""
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise ValueError(f"at must be an aware instant, not {at!r}.")
    return at


def series(
    key: Key, start: datetime, end: datetime, *, by: str | timedelta | None, facet: str | None = None
) -> list[Point]:
    """Return what a product held over ``[start, end)``, oldest first; see ``Cache.series``."""
    bounds(start, end)
    primer = registry.primer(key.key_base)
    if isinstance(primer, Stock):
        steps = _steps(start, end, by) if by is not None else None
        return past.series(key, primer, start, end, steps, facet)
    if facet is not None:
        raise ValueError(
            f"{key.key_base!r} is neither a stock nor a flow, and has no facet {facet!r} over time."
        )
    rows = records.between(caller(spread.alias_of(primer)), key, start, end)
    held = [(at, primer.codec.decode(text) if text is not None else None) for at, text in rows]
    if by is None:
        points = []
        for index, (at, value) in enumerate(held):
            until = held[index + 1][0] if index + 1 < len(held) else end
            points.append(Point(max(at, start), until, value, index + 1 < len(held)))
        return points
    points, position, value, now_known = [], 0, None, False
    for step_start, step_end in _steps(start, end, by):
        while position < len(held) and held[position][0] < step_end:
            value, now_known = held[position][1], True
            position += 1
        points.append(Point(step_start, step_end, value if now_known else None, step_end <= end))
    return points


def value_at(key: Key, at: datetime) -> Any:
    """Return what a product held at ``at`` (aware). Raises NotPrimed where nothing was recorded by then."""
    aware(at)
    primer = registry.primer(key.key_base)
    if isinstance(primer, Stock):
        return past.value_at(key, primer, at)
    rows = records.between(caller(spread.alias_of(primer)), key, at, at + timedelta(microseconds=1))
    rows = [row for row in rows if row[0] <= at]
    if not rows:
        raise NotPrimed(
            f"Nothing of {str(key)!r} was recorded by {at.isoformat()}. Records are kept where keep_history = True."
        )
    return primer.codec.decode(rows[-1][1]) if rows[-1][1] is not None else None


def _steps(start: datetime, end: datetime, by: str | timedelta) -> list[tuple[datetime, datetime]]:
    if isinstance(by, timedelta):
        if by <= timedelta(0):
            raise ValueError(f"by must be a positive duration, not {by!r}.")
        count = -((start - end) // by)
        return [(start + by * i, start + by * (i + 1)) for i in range(count)]
    if by not in STEPS:
        raise ValueError(f"by must be a timedelta or one of {', '.join(STEPS)}, not {by!r}.")
    zone = ZoneInfo(settings.TIME_ZONE or "UTC")
    local = start.astimezone(zone)
    steps: list[tuple[datetime, datetime]] = []
    number, begin = 0, start
    while True:
        # Wall-clock steps: a day is 23 or 25 hours long twice a year. From the start each time, or months
        # would drift.
        number += 1
        finish = first_instant(zone, local.replace(tzinfo=None) + STEPS[by] * number)
        if finish <= begin:  # it is put back
            continue
        steps.append((begin.astimezone(zone), finish.astimezone(zone)))
        if finish >= end:
            return steps
        begin = finish
