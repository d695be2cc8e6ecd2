"""What a chart is given: a sheet to be drawn on, series, a goal, annotations; numbers and times in plain words."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any

from ..entry import Point
from .palette import Theme
from .scales import drawn

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def plain_number(value: Any) -> str:
    """Return a number as English reads it: ``4,391``, ``−0.25``, ``1.2e+18``; ``–`` for none."""
    if type(value) is int and -(10**15) < value < 10**15:
        return f"{value:,}" if value >= 0 else f"−{-value:,}"
    if type(value) is float and -1e6 < value < 1e6:
        text = f"{value:,.6g}"
        return f"−{text[1:]}" if text[0] == "-" else text
    if drawn(value) is None:
        return "–"
    if isinstance(value, Decimal) and value.is_finite():
        text = (
            f"{value:,f}"
            if -15 < value.adjusted() < 15 and len(value.as_tuple().digits) < 16
            else f"{value:.3g}"
        )
    elif isinstance(value, int):
        text = f"{value:,}" if abs(value) < 10**15 else f"{Decimal(value):.3g}"
    else:
        text = plain_number(float(value) if abs(value) < 1e6 else Decimal(f"{value:.15g}"))
    return text.replace("-", "−") if text.startswith("-") else text


def plain_tick(at: datetime, unit: str) -> str:
    """Return what stands at a tick of time: ``14:05``, ``12 Jun``, ``Jun``, ``2026``.

    Args:
        at: In the zone of the sheet.
        unit: What the ticks step by: ``second minute hour day week month year``.
    """
    if unit in ("second", "minute", "hour"):
        if at.hour == at.minute == at.second == 0:
            return f"{at.day} {MONTHS[at.month - 1][:3]}"
        return f"{at:%H:%M:%S}" if unit == "second" else f"{at:%H:%M}"
    if unit in ("day", "week"):
        return f"{at.day} {MONTHS[at.month - 1][:3]}"
    return MONTHS[at.month - 1][:3] if unit == "month" and at.month > 1 else str(at.year)


def plain_moment(start: datetime, end: datetime) -> str:
    """Return which window a point is of: ``12 Jun 2026``, ``12–18 Jun 2026``, ``12 Jun 2026 14:00``.

    Args:
        start, end: In the zone of the sheet.
    """
    if end - start < timedelta(hours=20):
        clock = f"{start:%H:%M:%S}" if start.second or end.second else f"{start:%H:%M}"
        return f"{_day(start)} {start.year} {clock}"
    if end - start < timedelta(hours=28):
        return f"{_day(start)} {start.year}"
    if timedelta(days=27) < end - start < timedelta(days=32) and start.day == end.day == 1:
        return f"{MONTHS[start.month - 1][:3]} {start.year}"
    last = end - timedelta(microseconds=1)
    if (start.year, start.month) == (last.year, last.month):
        return f"{start.day}–{_day(last)} {start.year}"
    return f"{_day(start)}{f' {start.year}' if start.year != last.year else ''} – {_day(last)} {last.year}"


def _day(at: datetime) -> str:
    return f"{at.day} {MONTHS[at.month - 1][:3]}"


def same(text: str) -> str:
    """Return the text: what translates where nobody translates."""
    return text


def counted(one: str, many: str, number: int) -> str:
    """Return the form of English for a number: as ``ngettext`` where nobody translates."""
    return one if number == 1 else many


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """What a chart is drawn on, and how what stands on it is said.

    Attributes:
        id: Unique on its page; every id within the picture begins with it.
        title, description: The picture's name, and a sentence for those who hear it (see ``summary``).
        named: Whether it has a name; not where it stands within what has one, hidden from those who hear it.
        width, height: In pixels of the page at full size; below 480 wide it is laid out for a phone.
        theme: None within a page that has ``palette.css()``; ``light`` or ``dark`` where it stands alone.
        surface: The token of what it lies on: ``surface``, or ``raised`` on a tile.
        tab_stop: Whether Tab stops at it, once.
        cursor: Whether it carries what a script shows under pointer and arrow keys; None: where it stands in a page.
        zone, week_start: Where days begin, and weeks (0 Monday to 6 Sunday).
        failures: The beginnings of steps in which it could not be computed, with what is said of each: crosses on the
            axis of time.
        number: Says a value, or a tick of the axis of values (int or Decimal).
        tick: Says a tick of the axis of time, see ``plain_tick``.
        moment: Says the window of a point, see ``plain_moment``.
        gettext: Translates the few words of the chart's own.
    """

    id: str = "chart"
    title: str = ""
    description: str = ""
    named: bool = True
    width: int = 720
    height: int = 240
    theme: Theme | None = None
    surface: str = "surface"
    tab_stop: bool = False
    cursor: bool | None = None
    zone: tzinfo = UTC
    week_start: int = 0
    failures: Sequence[tuple[datetime, str]] = ()
    number: Callable[[Any], str] = plain_number
    tick: Callable[[datetime, str], str] = plain_tick
    moment: Callable[[datetime, datetime], str] = plain_moment
    gettext: Callable[[str], str] = same

    @property
    def narrow(self) -> bool:
        """Whether it is laid out for a phone."""
        return self.width < 480

    @property
    def carries_cursor(self) -> bool:
        """Whether it carries what a script shows."""
        return self.theme is None if self.cursor is None else self.cursor

    def moment_of(self, point: Point) -> str:
        """Return which window a point is of."""
        return self.moment(point.start.astimezone(self.zone), point.end.astimezone(self.zone))

    def cell(self, point: Point, *, in_progress: bool = True) -> str:
        """Return what the table and the cursor say of a point: ``42``, ``42 (in progress)``, ``–``.

        Args:
            in_progress: What an incomplete one is: still in progress, or (False) known to lack something.
        """
        value = point.value
        if type(value) is not int and drawn(value) is None:
            return "–"
        said = self.number(value)
        if point.complete:
            return said
        words = "{value} (in progress)" if in_progress else "{value} (incomplete)"
        return self.gettext(words).format(value=said)


@dataclass(frozen=True, slots=True)
class Series:
    """One line, or one kind of bar.

    Attributes:
        name: What the legend says.
        points: Steps of time, in any order.
        color: 1 to 8; 0: by its place among the series.
        compares: Whether it is what the first series is compared with: fainter, its nth point under the nth of the
            first.
        reconstructed: Starts of points that were told afterwards; they are hollow.
    """

    name: str
    points: Sequence[Point]
    color: int = 0
    compares: bool = False
    reconstructed: Collection[datetime] = ()


@dataclass(frozen=True, slots=True)
class Goal:
    """A value that is aimed at, and what stands at its line."""

    value: Any
    label: str = ""


@dataclass(frozen=True, slots=True)
class Annotation:
    """What happened at an instant, or (with ``end``) from then on until ``end``."""

    at: datetime
    text: str
    end: datetime | None = None


def in_progress_from(points: Sequence[Point]) -> int:
    """Return the index from which on, of points in order, all are incomplete: they are in progress. An incomplete
    one that a complete one follows lacks something for good.
    """
    at = len(points)
    while at and not points[at - 1].complete:
        at -= 1
    return at


def rounded(value: float, like: Sequence[Any]) -> int | float:
    """Return an average to as many digits as it can bear: whole from 10 on, if what it is of are whole numbers."""
    if value and math.isfinite(value):
        whole = all(float(one).is_integer() for one in like)
        digits = int(abs(value) < 10) if whole else max(0, 2 - math.floor(math.log10(abs(value))))
        value = round(value, digits)
    return int(value) if float(value).is_integer() and abs(value) < 1e15 else value
