"""From numbers and instants to places: domains that begin and end on round numbers, ticks on calendars."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

# What is further from zero than this is drawn here, and what is nearer than its inverse on zero: differences and
# products of what is within are finite.
FURTHEST = 1e300
_EXACT = Context(prec=400, Emin=-999_999, Emax=999_999)
_MULTIPLES = (Decimal(1), Decimal(2), Decimal("2.5"), Decimal(5), Decimal(10))


def drawn(value: Any) -> float | None:
    """Return the number at which a value is drawn; None where it is none (None, NaN, infinity, what
    is no number)."""
    if value is None or isinstance(value, str | bytes):
        return None
    try:
        number = float(value)
    except OverflowError:
        return FURTHEST if value > 0 else -FURTHEST
    except (TypeError, ValueError, ArithmeticError):
        return None
    if not abs(number) <= FURTHEST:
        if math.isnan(number) or (math.isinf(number) and value == number):
            return None
        return math.copysign(FURTHEST, number)  # finite, if only as a Decimal or an int
    return number if abs(number) >= 1 / FURTHEST else 0.0


@dataclass(frozen=True, slots=True)
class Linear:
    """A domain of numbers.

    Attributes:
        low, high: Where it begins and ends; they differ.
        ticks: Round numbers within it, rising: ints, or Decimals that all have the decimals of their step.
    """

    low: float
    high: float
    ticks: tuple[int | Decimal, ...]

    def share(self, value: float) -> float:
        """Return where a number lies: 0 at ``low``, 1 at ``high``."""
        return (value - self.low) / (self.high - self.low)


def linear(values: Iterable[float], *, zero: bool = True, count: int = 5) -> Linear:
    """Return the domain that holds all values, from a tick to a tick.

    Args:
        values: Finite numbers, in any order.
        zero: Whether zero belongs to it.
        count: About how many steps it is cut into: 1, 2, 2.5 or 5 times a power of ten each. Whole numbers get
            whole steps.
    """
    given = list(values)
    low, high = (min(given), max(given)) if given else (0.0, 0.0)
    whole = max(abs(low), abs(high)) < 2**53 and all(float(value).is_integer() for value in given)
    return linear_between(low, high, whole=whole, zero=zero, count=count)


def linear_between(low: float, high: float, *, whole: bool, zero: bool = True, count: int = 5) -> Linear:
    """Return the domain that holds two numbers; ``whole``: in whole steps. See ``linear``."""
    low, high = drawn(low) or 0.0, drawn(high) or 0.0
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    # What a float cannot tell apart is not spread out.
    least = max(abs(low), abs(high)) * 1e-14
    if high - low <= least:
        pad = max(abs(high) * 0.05, 1.0 if whole else least)
        low, high = (low - pad, high + pad) if high else (0.0, 1.0)
    step = _step((high - low) / max(count, 1), whole)
    first = int(_divide(low, step).to_integral_value(ROUND_FLOOR, _EXACT))
    last = int(_divide(high, step).to_integral_value(ROUND_CEILING, _EXACT))
    exponent = step.as_tuple().exponent
    if isinstance(exponent, int) and exponent >= 0:
        ticks: tuple[int | Decimal, ...] = tuple(int(step) * at for at in range(first, last + 1))
    else:
        ticks = tuple(_EXACT.multiply(step, Decimal(at)) for at in range(first, last + 1))
    return Linear(float(ticks[0]), float(ticks[-1]), ticks)


def _divide(value: float, step: Decimal) -> Decimal:
    return _EXACT.divide(Decimal(value), step)


def _step(least: float, whole: bool) -> Decimal:
    exponent = math.floor(math.log10(least))
    for multiple in _MULTIPLES:
        step = multiple.scaleb(exponent, _EXACT)
        if whole and (step < 1 or step != int(step)):
            continue
        if float(step) >= least * (1 - 1e-9):
            return step if step != int(step) else Decimal(int(step))
    return Decimal(1)  # whole numbers nearer to each other than one


# ---------------------------------------------------------------------------------------------------------------- time


@dataclass(frozen=True, slots=True)
class Step:
    """From one tick of time to the next.

    Attributes:
        unit: ``second minute hour day week month year``.
        number: How many of them.
    """

    unit: str
    number: int

    @property
    def seconds(self) -> int:
        """How long it is at least."""
        return _SECONDS[self.unit] * self.number


_SECONDS = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86_400 - 7200,  # a change of the clocks may shorten it
    "week": 7 * 86_400 - 7200,
    "month": 28 * 86_400 - 7200,
    "year": 365 * 86_400 - 7200,
}

# All that a tick may step by, finest first: each lies on the calendar, whatever the first instant.
STEPS = tuple(
    Step(unit, number)
    for unit, numbers in (
        ("second", (1, 5, 15, 30)),
        ("minute", (1, 5, 15, 30)),
        ("hour", (1, 3, 6, 12)),
        ("day", (1, 2)),
        ("week", (1, 2, 4)),
        ("month", (1, 3, 6)),
        ("year", (1, 2, 5, 10, 25, 50, 100, 500, 1000)),
    )
    for number in numbers
)


def time_ticks(
    start: datetime, end: datetime, step: Step, zone: tzinfo, week_start: int = 0
) -> list[datetime]:
    """Return the ticks from ``start`` to ``end``, both included, rising, in the zone.

    Args:
        step: One of ``STEPS``. Days, weeks, months and years begin when they begin in the zone; of hours, the one that
            the clocks leave out has no tick, and the one that comes twice has two where each hour has one.
        week_start: 0 for Monday to 6 for Sunday.
    """
    found: list[datetime] = []
    for at in _aligned(start, end, step, zone, week_start):
        if at > end:
            break
        if at >= start and (not found or at > found[-1]):
            found.append(at)
    return [at.astimezone(zone) for at in found]


def _aligned(start: datetime, end: datetime, step: Step, zone: tzinfo, week_start: int) -> Iterator[datetime]:
    """Yield the instants of a step in UTC, from at or before ``start`` on, without end but that of the calendar."""
    try:
        local = start.astimezone(zone)
        if step.unit in ("second", "minute"):
            # By the clock of the zone, whose offset may have minutes; it is that of the first instant.
            size = timedelta(seconds=step.seconds)
            offset = local.utcoffset() or timedelta()
            at = start.astimezone(UTC)
            at -= (at + offset - _EPOCH) % size
            while True:
                yield at
                at += size
        elif step.unit == "hour":
            day = local.date()
            while True:
                for hour in range(0, 24, step.number):
                    yield _instant(day, zone, hour)
                    if step.number == 1:
                        yield _instant(day, zone, hour, fold=1)
                day += timedelta(days=1)
        elif step.unit in ("day", "week"):
            days = step.number if step.unit == "day" else 7 * step.number
            day = local.date()
            # The first of January of year 1 is a Monday, number 1.
            day -= timedelta(days=(day.toordinal() - 1 - (week_start if step.unit == "week" else 0)) % days)
            while True:
                yield _instant(day, zone)
                day += timedelta(days=days)
        else:
            months = step.number if step.unit == "month" else 12 * step.number
            month = (local.year * 12 + local.month - 1) // months * months
            while True:
                yield _instant(date(month // 12, month % 12 + 1, 1), zone)
                month += months
    except (OverflowError, ValueError):
        return  # beyond what a datetime can say


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _instant(day: date, zone: tzinfo, hour: int = 0, fold: int = 0) -> datetime:
    return datetime.combine(day, time(hour, fold=fold), zone).astimezone(UTC)


class Times:
    """Instants on a line from left to right.

    Args:
        start, end: Seconds since 1970; where they are one, it lies in the middle.
        left, width: In pixels.
    """

    __slots__ = ("_edges", "_per_second", "end", "left", "right", "start")

    def __init__(self, start: float, end: float, left: float, width: float) -> None:
        if end <= start:
            start, end = start - 1, start + 1
        self.start, self.end = start, end
        self.left, self.right = left, left + width
        self._per_second = width / (end - start)
        self._edges: dict[tuple[int, tzinfo | None], list[datetime]] = {}

    def x(self, at: datetime) -> float:
        """Return where an instant lies."""
        return self.left + (at.timestamp() - self.start) * self._per_second

    def at(self, x: float) -> datetime:
        """Return the instant that lies at a place."""
        return _EPOCH + timedelta(seconds=self.start + (x - self.left) / self._per_second)

    def edges(self, width: int, zone: tzinfo | None) -> list[datetime]:
        """Return where columns of a width in pixels begin, in a zone, rising; the last one ends the last column."""
        known = self._edges.get((width, zone))
        if known is None:
            number, step = math.ceil((self.right - self.left) / width), width / self._per_second
            start = self.start
            known = [_EPOCH + timedelta(seconds=start + at * step) for at in range(number + 1)]
            if zone is not UTC:
                known = [edge.astimezone(zone) for edge in known]
            self._edges[width, zone] = known
        return known
