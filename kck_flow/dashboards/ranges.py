"""The time bar: which range is shown, by which steps, compared with what; all of it from the address."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any, Final
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta
from django.conf import settings
from django.utils.dates import WEEKDAYS
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from .. import wording
from ..windows import UNITS, Window, quarter, week_start

# As many steps a chart has at most: what is finer than a screen's pixels is asked for by a shorter range.
MOST_STEPS: Final = 10_000
# Ranges that are named: how long, and the steps that fit.
NAMED: Final[Mapping[str, tuple[Any, int, str]]] = {
    "24h": (gettext_lazy("Last 24 hours"), 24, "hour"),
    "7d": (gettext_lazy("Last 7 days"), 7, "day"),
    "30d": (gettext_lazy("Last 30 days"), 30, "day"),
    "90d": (gettext_lazy("Last 90 days"), 90, "day"),
    "12m": (gettext_lazy("Last 12 months"), 12, "month"),
    "24m": (gettext_lazy("Last 24 months"), 24, "month"),
}
DEFAULT: Final = "30d"
COMPARE: Final[Mapping[str, Any]] = {
    "previous": gettext_lazy("before, to date"),
    "year": gettext_lazy("last year, to date"),
    "none": gettext_lazy("nothing"),
}
STEPS: Final[Mapping[str, Any]] = {
    "hour": gettext_lazy("hour"),
    "day": gettext_lazy("day"),
    "week": gettext_lazy("week"),
    "month": gettext_lazy("month"),
}
_DURATIONS: Final = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}
PARAMETERS: Final = ("range", "from", "to", "by", "compare", "tz", "complete")


class BadParameter(ValueError):
    """A parameter of an address is unknown or wrong. ``name`` is its name; the message is a sentence."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True)
class Range:
    """A range of time and its steps.

    Attributes:
        start, end: Aware instants; ``[start, end)`` is made of whole steps, of which the last may not be over.
        by: The step: ``hour, day, week, month``.
        zone: In which steps begin.
        compare: ``previous, year`` or ``none``.
        named: The name of the range, or empty where it was given by its ends.
        now: When it was asked for.
        complete: Whether only steps that are over are shown.
    """

    start: datetime
    end: datetime
    by: str
    zone: ZoneInfo
    compare: str
    named: str
    now: datetime
    complete: bool = False
    given: Mapping[str, str] = field(default_factory=dict)

    @property
    def window(self) -> Window:
        return Window(self.by, self.zone.key)

    @cached_property
    def steps(self) -> int:
        """Return how many steps it has."""
        found, at = 0, self.start
        while at < self.end:
            found, at = found + 1, self.window.after(at)
        return found

    @cached_property
    def signature(self) -> tuple[object, ...]:
        """What is the same for as long as no step of the range, nor of the older one, ends."""
        told = self.start, self.end, self.by, self.zone.key, self.compare, self.complete, self.named
        return *told, quarter(self.now)

    @property
    def until(self) -> datetime:
        """Return up to when there can be numbers: its end, or now."""
        return min(self.end, self.now)

    def before(self) -> tuple[datetime, datetime] | None:
        """Return the older range that it is compared with, see ``_before``."""
        return self._before

    @cached_property
    def _before(self) -> tuple[datetime, datetime] | None:
        """The older range that it is compared with: as far as this one has got, and no further."""
        if self.compare == "none":
            return None
        if self.compare == "year":
            # Weeks begin on other days a year before: as many weeks, so that there are as many steps.
            year = relativedelta(weeks=52) if self.by == "week" else relativedelta(years=1)
            return self._shifted(self.start, year), self._shifted(self.until, year)
        if self.by == "hour":
            length = self.end - self.start
            return self.start - length, self.until - length
        if self.by == "month":
            months = self.steps
            return self._shifted(self.start, relativedelta(months=months)), self._shifted(
                self.until, relativedelta(months=months)
            )
        # By the clock on the wall: across a change of it a range of days is an hour longer or shorter.
        local = self.end.astimezone(self.zone).replace(tzinfo=None) - self.start.astimezone(
            self.zone
        ).replace(tzinfo=None)
        back = relativedelta(seconds=int(local.total_seconds()))
        return self._shifted(self.start, back), self._shifted(self.until, back)

    def _shifted(self, at: datetime, back: relativedelta) -> datetime:
        local = at.astimezone(self.zone).replace(tzinfo=None) - back
        return local.replace(tzinfo=self.zone).astimezone(UTC)

    @property
    def first(self) -> datetime:
        """Return where what is needed begins: of this range, or of what it is compared with."""
        before = self.before()
        return self.window.start_of(min(self.start, before[0])) if before else self.start

    @property
    def text(self) -> str:
        """Return the range in words."""
        if self.named:
            return str(NAMED[self.named][0]) if self.named in NAMED else _last(self.steps, self.by)
        last = self.end - timedelta(microseconds=1)
        one, two = self.start.astimezone(self.zone), last.astimezone(self.zone)
        if self.by == "hour":
            return f"{wording.instant(one)} – {wording.instant(self.end.astimezone(self.zone))}"
        if one.date() == two.date():
            return wording.day(one, year=True)
        return f"{wording.day(one, year=one.year != two.year)} – {wording.day(two, year=True)}"

    @property
    def compared_text(self) -> str:
        """Return what it is compared with, in words that follow ``against``."""
        if self.compare == "year":
            return _("the same period last year")
        count = self.steps
        if self.by == "hour":
            return ngettext("the hour before", "the %(count)s hours before", count) % {"count": count}
        if self.by == "day":
            return ngettext("the day before", "the %(count)s days before", count) % {"count": count}
        if self.by == "week":
            return ngettext("the week before", "the %(count)s weeks before", count) % {"count": count}
        return ngettext("the month before", "the %(count)s months before", count) % {"count": count}

    @property
    def zone_text(self) -> str:
        """Return the zone and the beginning of the week, as each page prints them."""
        day = WEEKDAYS[week_start()]
        return _("%(zone)s · weeks start %(day)s") % {"zone": self.zone.key, "day": day}

    def told(self) -> dict[str, Any]:
        """Return what JSON says of it."""
        before = self.before()
        return {
            "from": self.start.astimezone(self.zone).isoformat(),
            "to": self.end.astimezone(self.zone).isoformat(),
            "by": self.by,
            "zone": self.zone.key,
            "compare": self.compare,
            "compared_from": before[0].astimezone(self.zone).isoformat() if before else None,
            "compared_to": before[1].astimezone(self.zone).isoformat() if before else None,
        }

    def is_over(self, end: datetime) -> bool:
        """Whether a step that ends so is over."""
        return end <= self.now


def _last(count: int, by: str) -> str:
    if by == "hour":
        return ngettext("Last hour", "Last %(count)s hours", count) % {"count": count}
    if by == "day":
        return ngettext("Last day", "Last %(count)s days", count) % {"count": count}
    if by == "week":
        return ngettext("Last week", "Last %(count)s weeks", count) % {"count": count}
    return ngettext("Last month", "Last %(count)s months", count) % {"count": count}


def read(given: Mapping[str, str], now: datetime, *, default: str = DEFAULT) -> Range:
    """Return the range that an address asks for.

    Args:
        given: Its parameters: ``range`` (a name, or a number of steps such as ``14d``), or ``from`` and ``to``; ``by``,
            ``compare``, ``tz``, ``complete``.
        now: Aware.

    Raises:
        BadParameter: one of them is wrong.
    """
    zone = zone_of(given.get("tz", ""))
    by = given.get("by", "")
    if by and by not in UNITS:
        raise BadParameter("by", f"by is one of {', '.join(UNITS)}, not {by!r}.{near(by, UNITS)}")
    compare = given.get("compare") or "previous"
    if compare not in COMPARE:
        raise BadParameter(
            "compare", f"compare is one of {', '.join(COMPARE)}, not {compare!r}.{near(compare, COMPARE)}"
        )
    complete = flag(given.get("complete", ""))
    kept = {name: given[name] for name in PARAMETERS if given.get(name)}
    if given.get("from") or given.get("to"):
        return _between(given, zone, by, compare, now, complete, kept)
    named = given.get("range") or default
    count, unit = _length(named)
    step = by or unit
    window = Window(step, zone.key)
    end = window.after(window.start_of(now))
    if unit == step:
        start = _back(window, end, count)
    else:
        outer = Window(unit, zone.key)
        start = window.start_of(_back(outer, outer.after(outer.start_of(now)), count))
    found = Range(start, end, step, zone, compare, named, now, complete, kept)
    _bounded(found)
    return found


def _between(
    given: Mapping[str, str],
    zone: ZoneInfo,
    by: str,
    compare: str,
    now: datetime,
    complete: bool,
    kept: Mapping[str, str],
) -> Range:
    end = instant("to", given["to"], zone, last=True) if given.get("to") else now
    start = instant("from", given["from"], zone) if given.get("from") else end - timedelta(days=30)
    if start >= end:
        raise BadParameter(
            "from", f"from ({given.get('from')}) must lie before to ({given.get('to') or 'now'})."
        )
    length = end - start
    step = by or (
        "hour" if length <= timedelta(days=2) else "day" if length <= timedelta(days=200) else "month"
    )
    window = Window(step, zone.key)
    first, last = window.start_of(start), window.after(window.start_of(end - timedelta(microseconds=1)))
    found = Range(first, last, step, zone, compare, "", now, complete, kept)
    _bounded(found)
    return found


def _bounded(found: Range) -> None:
    about = _DURATIONS.get(found.by, timedelta(days=28))
    if (found.end - found.start) / about > MOST_STEPS:
        raise BadParameter(
            "by",
            f"That is more than {MOST_STEPS:,} steps of a {found.by}: ask for longer ones, or for a shorter range.",
        )


def _back(window: Window, end: datetime, count: int) -> datetime:
    for _number in range(count):
        end = window.start_of(end - timedelta(microseconds=1))
    return end


def _length(named: str) -> tuple[int, str]:
    if named in NAMED:
        return NAMED[named][1], NAMED[named][2]
    units = {"h": "hour", "d": "day", "w": "week", "m": "month"}
    number, unit = named[:-1], named[-1:]
    if unit in units and number.isascii() and number.isdigit() and 0 < int(number) <= MOST_STEPS:
        return int(number), units[unit]
    raise BadParameter(
        "range",
        f"range is one of {', '.join(NAMED)}, or a number of hours, days, weeks or months such as 14d; not {named!r}.",
    )


def instant(name: str, text: str, zone: ZoneInfo, *, last: bool = False) -> datetime:
    """Read an instant or a day; of a day that is the last, its end."""
    try:
        if "T" not in text and " " not in text:
            day = date.fromisoformat(text)
            if last:
                day += timedelta(days=1)
            found = datetime(day.year, day.month, day.day, tzinfo=zone)
        else:
            found = datetime.fromisoformat(text.replace(" ", "+", 1) if "T" in text else text)
            if found.tzinfo is None:
                found = found.replace(tzinfo=zone)
        if not 1900 <= found.year <= 2200:
            raise ValueError
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadParameter(
            name,
            f"{name} is a day or an instant, such as 2026-01-31 or 2026-01-31T10:00:00+01:00, not {text!r}.",
        ) from None


def zone_of(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text or settings.TIME_ZONE or "UTC")
    except (ValueError, LookupError, OSError):
        raise BadParameter("tz", f"tz is a time zone such as Europe/Paris, not {text!r}.") from None


def flag(text: str) -> bool:
    if text.lower() in ("", "0", "false", "no", "off"):
        return False
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    raise BadParameter("complete", f"complete is 1 or 0, not {text!r}.")


def near(text: str, known: Any) -> str:
    near = difflib.get_close_matches(text, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
