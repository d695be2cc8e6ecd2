"""When a product is wanted again: intervals, cron expressions, calendar rules.

A schedule is a plain immutable value: hashable, picklable, with a digest that is the same in every process.
It reads no clock, no table and no registry; whoever asks says from when (``schedule.next(after)``). Instants
go in aware and come out aware in UTC.

How wall-clock times meet a clock change (the rules of Debian's cron, `man 8 cron`, with the last one added):

* A *fixed time* (neither the minute nor the hour field begins with ``*``; every calendar rule) happens once.
  Where the clock repeats it, at the first of the two; where the clock skips it, at the instant the gap ends.
  Two skipped times that land on one instant are one run.
* A *repeating* expression (minute or hour begins with ``*``) is compared with the wall clock as it really
  runs: an hourly one fires 25 times on the long day, 23 times on the short one.
* A day that a zone leaves out altogether (a gap of 24 hours or more: Apia, 2011-12-30) has no runs.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import statistics
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from itertools import islice, pairwise
from typing import Any, Literal, cast
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from dateutil import rrule as _dateutil

from .errors import DeclarationError

__all__ = ["Cron", "Every", "Rule", "Schedule", "as_schedule", "cron", "every", "rule"]

Anchor = Literal["nominal", "finish"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)
HALF_DAY = timedelta(hours=12)  # no zone changes its offset twice within this
TWO_DAYS = timedelta(days=2)  # more than the offsets of one zone ever differ
MAX_JITTER = 0.1
# The first and last instants of the calendar that have a wall time in every zone.
FIRST, LAST = datetime(1, 1, 3, tzinfo=UTC), datetime(9999, 12, 29, tzinfo=UTC)
SAMPLE = 25  # instants looked at to say what distance is typical
SAMPLE_FROM = datetime(2001, 1, 1, tzinfo=UTC)  # any fixed Monday will do; the clock is not read
BACK_FAR_ENOUGH = timedelta(days=366 * 60)  # cronsim gives up after 50 years without a match


class Schedule(ABC):
    """What every schedule can be asked. Make one with ``every``, ``cron`` or ``rule``.

    ``anchor`` is ``"nominal"`` (the grid of instants is fixed, however long runs take) or ``"finish"`` (the
    next instant is counted from the end of the run, which the caller passes as ``after``).
    """

    __slots__ = ()

    jitter: float
    anchor: Anchor

    @abstractmethod
    def _walk(self, after: datetime) -> Iterator[datetime]:
        """Yield the instants strictly later than ``after`` (UTC), ascending, without repetition."""

    @abstractmethod
    def _canonical(self) -> str:
        """One text for one meaning: what the digest is taken of."""

    @abstractmethod
    def describe(self) -> str:
        """Say it for people: ``every 5 minutes``, ``30 2 * * * in Europe/Berlin``."""

    @abstractmethod
    def period(self) -> timedelta | None:
        """Return the typical distance of two instants, or None where fewer than two exist.

        The interval itself for ``every``; for the others the median over the first instants, so
        ``0 9-17 * * MON-FRI`` answers one hour.
        """

    def next(self, after: datetime) -> datetime | None:
        """Return the first instant strictly later than ``after``, aware in UTC, or None where none follows.

        Args:
            after: An aware instant. With ``anchor="finish"``, the end of the run.

        Raises:
            ValueError: ``after`` is naive.
        """
        return next(self._walk(_utc(after, "after")), None)

    def previous(self, at: datetime) -> datetime | None:
        """Return the last instant that is not later than ``at``, aware in UTC, or None where there is none.

        With ``anchor="finish"`` there is no grid to look back on, and the answer is None.
        """
        at = _utc(at, "at")
        if self.anchor == "finish":
            return None
        span = 2 * (self.period() or DAY)
        quiet = at  # nothing happens in (quiet, at]
        while True:
            start = _shifted(at, -span)
            found = self.next(start)
            if found is not None and found <= at:
                break
            if span > BACK_FAR_ENOUGH:
                return None
            quiet, span = start, span * 4
        # Halve what lies between a known instant and the known silence: a walk could take a month of minutes.
        while True:
            following = self.next(found)
            if following is None or following > at:
                return found
            middle = found + (quiet - found) / 2
            after_middle = self.next(middle)
            if after_middle is not None and after_middle <= at:
                found = after_middle
            else:
                quiet, found = middle, following

    def between(self, after: datetime, until: datetime, limit: int | None = None) -> list[datetime]:
        """Return the instants in ``(after, until]``, oldest first: what was missed since ``after``.

        Args:
            after: Aware; itself not included.
            until: Aware; itself included.
            limit: At most so many, the oldest; None for all.

        Returns:
            Aware instants in UTC. With ``anchor="finish"`` at most one: the instants after it depend on a run
            that has not happened yet.
        """
        if limit is not None and limit < 0:
            raise ValueError(f"limit must be 0 or more, or None for all; it is {limit}.")
        return list(islice(self._until(after, until), limit))

    def count_between(self, after: datetime, until: datetime) -> int:
        """Return how many instants lie in ``(after, until]``, as ``between`` would list them."""
        return sum(1 for _ in self._until(after, until))

    def jittered(self, instant: datetime, key_text: str) -> datetime:
        """Return ``instant`` moved later by this key's own share of the distance to the next instant.

        The same key is moved by the same share in every process and every period, never earlier, and by less
        than ``jitter`` times the distance, so the order of the instants is kept. Without jitter, ``instant``
        itself, in UTC.

        Args:
            instant: One of the schedule's instants, aware.
            key_text: The canonical text of the product's key.
        """
        instant = _utc(instant, "instant")
        if not self.jitter:
            return instant
        following = self.next(instant)
        if following is None:
            return instant
        seed = hashlib.sha256(key_text.encode("utf-8", "surrogatepass")).digest()
        share = int.from_bytes(seed[:6], "big") / (1 << 48)
        return instant + (following - instant) * (self.jitter * share)

    def digest(self) -> str:
        """Return 32 hex digits that change if and only if the meaning does; the same in every process."""
        return hashlib.sha256(self._canonical().encode()).hexdigest()[:32]

    def _until(self, after: datetime, until: datetime) -> Iterator[datetime]:
        until = _utc(until, "until")
        for instant in self._walk(_utc(after, "after")):
            if instant > until:
                return
            yield instant

    def _spread(self) -> str:
        return f", spread over {self.jitter:.1%} of the period".replace(".0%", "%") if self.jitter else ""

    def __str__(self) -> str:
        return self.describe()


# --- every --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Every(Schedule):
    """Instants a fixed distance apart, from 1970-01-01 00:00 UTC plus ``offset`` on. Made by ``every``."""

    interval: timedelta
    offset: timedelta = timedelta(0)
    anchor: Anchor = "nominal"
    jitter: float = 0.0

    def __post_init__(self) -> None:
        for name in ("interval", "offset"):
            if not isinstance(getattr(self, name), timedelta):
                raise DeclarationError(
                    f"every(): {name} must be a timedelta, not {getattr(self, name)!r}. "
                    "Write every(minutes=5) or every(timedelta(minutes=5))."
                )
        if self.interval <= timedelta(0):
            raise DeclarationError(f"every(): the interval must be longer than zero; it is {self.interval}.")
        if self.anchor not in ("nominal", "finish"):
            raise DeclarationError(
                f'every(): anchor must be "nominal" (fixed grid) or "finish" (from the end of the run), '
                f"not {self.anchor!r}."
            )
        if self.anchor == "finish" and self.offset:
            raise DeclarationError(
                'every(): an offset moves the fixed grid; anchor="finish" has none. Leave one of them out.'
            )
        object.__setattr__(self, "jitter", _jitter(self.jitter, "every()"))
        object.__setattr__(self, "offset", self.offset % self.interval)

    def _walk(self, after: datetime) -> Iterator[datetime]:
        try:
            if self.anchor == "finish":
                yield after + self.interval
                return
            instant = EPOCH + self.offset + (self._index(after) + 1) * self.interval
            while True:
                yield instant
                instant += self.interval
        except OverflowError:  # past the year 9999
            return

    def _index(self, at: datetime) -> int:
        return (at - EPOCH - self.offset) // self.interval

    def previous(self, at: datetime) -> datetime | None:
        """Return the last instant that is not later than ``at``; None with ``anchor="finish"``."""
        at = _utc(at, "at")
        if self.anchor == "finish":
            return None
        try:
            return EPOCH + self.offset + self._index(at) * self.interval
        except OverflowError:  # before the year 1
            return None

    def count_between(self, after: datetime, until: datetime) -> int:
        """Return how many instants lie in ``(after, until]``, by division, however long that is."""
        after, until = _utc(after, "after"), _utc(until, "until")
        if self.anchor == "finish":
            return int(after < until and after + self.interval <= until)
        return max(0, self._index(until) - self._index(after))

    def period(self) -> timedelta:
        """Return the interval."""
        return self.interval

    def describe(self) -> str:
        """Say it for people: ``every 5 minutes``, ``1 hour after each run ends``."""
        if self.anchor == "finish":
            return f"{_duration(self.interval)} after each run ends{self._spread()}"
        text = _duration(self.interval)
        if text.startswith("1 ") and text.count(" ") == 1:
            text = text[2:]
        moved = f", {_duration(self.offset)} later" if self.offset else ""
        return f"every {text}{moved}{self._spread()}"

    def _canonical(self) -> str:
        return f"every|{self.interval // TICK}|{self.offset // TICK}|{self.anchor}|{self.jitter!r}"


def every(
    interval: timedelta | None = None,
    /,
    *,
    weeks: float = 0,
    days: float = 0,
    hours: float = 0,
    minutes: float = 0,
    seconds: float = 0,
    offset: timedelta = timedelta(0),
    anchor: Anchor = "nominal",
    jitter: float = 0.0,
) -> Every:
    """Return instants a fixed distance apart: ``every(minutes=5)``, ``every(timedelta(hours=1))``.

    The grid is aligned to 1970-01-01 00:00 UTC, a Thursday: ``every(minutes=5)`` falls on :00, :05, :10 of
    each hour whenever the process was started, and ``every(days=1)`` on midnight UTC. ``offset`` moves the
    grid: ``every(weeks=1, offset=timedelta(days=4))`` begins on Mondays. A time of day in a time zone is a
    ``cron``.

    Args:
        interval: The distance, or give it in parts, which are added.
        weeks, days, hours, minutes, seconds: Parts of the distance.
        offset: By how much the grid is moved; taken modulo the interval.
        anchor: ``"nominal"``: the grid is fixed. ``"finish"``: the next instant is ``interval`` after the run
            ended.
        jitter: Share of the interval, 0 to 0.1, over which keys are spread; each key keeps its place.

    Raises:
        DeclarationError: No distance, one that is not longer than zero, or an argument out of its range.
    """
    parts = {"weeks": weeks, "days": days, "hours": hours, "minutes": minutes, "seconds": seconds}
    for name, part in parts.items():
        if isinstance(part, bool) or not isinstance(part, (int, float)):
            raise DeclarationError(f"every(): {name} must be a number, not {part!r}.")
    try:
        summed = timedelta(**parts)
    except (OverflowError, ValueError) as error:
        raise DeclarationError(
            f"every(): {_given(parts)} is not a distance that can be counted: {error}."
        ) from None
    if interval is None:
        if not any(parts.values()):
            raise DeclarationError(
                "every(): say how often, for example every(minutes=5) or every(timedelta(minutes=5))."
            )
        interval = summed
    elif any(parts.values()):
        raise DeclarationError(
            f"every(): give either a timedelta or parts, not both ({interval!r} and {_given(parts)})."
        )
    return Every(interval, offset, anchor, jitter)


# --- cron ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cron(Schedule):
    """A cron expression of five fields in a time zone. Made by ``cron``.

    ``tz`` is a zone's name, or None for the settings' ``TIME_ZONE``, which is looked up when asked.
    """

    expression: str
    tz: str | None = None
    jitter: float = 0.0

    anchor = "nominal"

    def __post_init__(self) -> None:
        if not isinstance(self.expression, str):
            raise DeclarationError(
                f'cron(): the expression must be a text like "30 2 * * *", not {self.expression!r}.'
            )
        fields = self.expression.upper().split()
        if len(fields) != 5:
            hint = " Seconds have no field here; use every(seconds=...)." if len(fields) > 5 else ""
            raise DeclarationError(
                f"cron({self.expression!r}) has {_some(len(fields), 'field')}; expected five: "
                f"minute, hour, day of month, month, day of week.{hint}"
            )
        expression = " ".join(fields)
        try:
            probe = CronSim(expression, SAMPLE_FROM)
        except (CronSimError, AssertionError) as error:
            what = str(error) or "a step of something that cannot be stepped"
            raise DeclarationError(
                f"cron({self.expression!r}): {what}. Expected minute 0-59, hour 0-23, day of month 1-31, "
                "L or LW, month 1-12 or JAN-DEC, day of week 0-7 or SUN-SAT, with * , - / and # as in cron."
            ) from None
        if next(probe, None) is None:
            raise DeclarationError(
                f"cron({self.expression!r}) never comes: no such date exists. Correct the day or month."
            )
        object.__setattr__(self, "expression", expression)
        object.__setattr__(self, "tz", None if self.tz is None else _zone_name(self.tz, "cron()"))
        object.__setattr__(self, "jitter", _jitter(self.jitter, "cron()"))

    @property
    def zone(self) -> tzinfo:
        """The time zone in force: ``tz``, or the settings' ``TIME_ZONE`` as it is now."""
        return _zone(self._tz())

    def _tz(self) -> str:
        if self.tz is not None:
            return self.tz
        from django.conf import settings  # asked now, so that declaring needs no settings

        return _zone_name(settings.TIME_ZONE, 'the setting TIME_ZONE, used by cron() without tz="..."')

    def _walk(self, after: datetime) -> Iterator[datetime]:
        if after >= LAST:
            return iter(())
        after = max(after, FIRST)
        minute, hour, *_ = self.expression.split()
        if minute.startswith("*") or hour.startswith("*"):
            return _as_the_clock_runs(self.expression, self.zone, after)
        zone = self.zone
        return _once_each(_walls(self.expression, _wall(after, zone)), zone, after)

    def period(self) -> timedelta | None:
        """Return the median distance of the first instants after 2001-01-01."""
        return _typical(self, SAMPLE_FROM)

    def describe(self) -> str:
        """Say it for people: ``30 2 * * * in Europe/Berlin``."""
        return f"{self.expression} in {self._tz()}{self._spread()}"

    def _canonical(self) -> str:
        return f"cron|{self.expression}|{self._tz()}|{self.jitter!r}"


def cron(expr: str, tz: str | tzinfo | None = None, *, jitter: float = 0.0) -> Cron:
    """Return a schedule from a cron expression of five fields: ``cron("30 2 * * *", tz="Europe/Berlin")``.

    Minute, hour, day of month, month, day of week. Names (``MON``, ``JAN``), ``L`` and ``LW`` (last day, last
    weekday of the month), ``5L`` and ``MON#2`` (last Friday, second Monday) are understood. If the day of
    month or the day of week begins with ``*`` both must match, otherwise either may. The module's docstring
    says what happens when clocks change.

    Args:
        expr: The five fields. Expressions with seconds are refused, because libraries disagree on which end
            they stand: use ``every(seconds=...)``.
        tz: A zone's name, a ``ZoneInfo`` or ``UTC``. None: the settings' ``TIME_ZONE``, looked up when asked.
        jitter: Share of the distance to the next instant, 0 to 0.1, over which keys are spread.

    Raises:
        DeclarationError: The expression or the zone cannot be understood, or the expression never comes.
    """
    return Cron(expr, cast("str | None", tz), jitter)


def _walls(expression: str, after: datetime) -> Iterator[datetime]:
    """Yield the naive wall times that match, strictly later than ``after``. No zone, so no clock change."""
    try:
        yield from CronSim(expression, after)
    except OverflowError:  # past the year 9999
        return


def _as_the_clock_runs(expression: str, zone: tzinfo, after: datetime) -> Iterator[datetime]:
    """Yield each instant whose wall time matches, strictly later than ``after``.

    We walk stretches of constant offset, in each of which the wall clock is plain arithmetic. (cronsim given
    an aware datetime steps by whole hours and so misses matches where a zone moves by half an hour: Lord
    Howe.)
    """
    at = after
    offset = _offset(at, zone)
    try:
        while True:  # one stretch of constant offset, or one leap through times that cannot match
            start = at
            for wall in _walls(expression, (at + offset).replace(tzinfo=None)):
                instant = wall.replace(tzinfo=UTC) - offset
                change = _first_change(start, min(instant, start + TWO_DAYS), zone, offset)
                if change is not None:
                    # Just before the change, on the clock that follows it: its first minute counts.
                    at, offset = change - TICK, _offset(change, zone)
                    break
                if instant - start > TWO_DAYS:
                    # Between two days from here and two days before the match, nothing matches.
                    at = max(start + TWO_DAYS, instant - TWO_DAYS)
                    offset = _offset(at, zone)
                    break
                yield instant
                start = instant
            else:
                return
    except OverflowError:
        return


def _first_change(start: datetime, end: datetime, zone: tzinfo, offset: timedelta) -> datetime | None:
    """Return the first instant in ``(start, end]`` at which ``zone`` is no longer at ``offset``, or None."""
    low = start
    while low < end:
        high = min(low + HALF_DAY, end)
        if _offset(high, zone) != offset:
            while high - low > TICK:
                middle = low + (high - low) / 2
                if middle in (low, high):
                    break
                if _offset(middle, zone) == offset:
                    low = middle
                else:
                    high = middle
            return high
        low = high
    return None


def _once_each(walls: Iterator[datetime], zone: tzinfo, after: datetime) -> Iterator[datetime]:
    """Yield when each wall time happens: once, at the gap's end if skipped, never on a missing day."""
    last = after
    try:
        for wall in walls:
            instant = _instant(wall, zone)
            # Not later than the last: two skipped times at the end of one gap, or a repeated hour.
            if instant is not None and instant > last:
                yield instant
                last = instant
    except OverflowError:
        return


def _instant(wall: datetime, zone: tzinfo) -> datetime | None:
    """Return when ``zone`` first shows ``wall``, or when the gap over it ends; None if that is a day."""
    first = wall.replace(tzinfo=zone, fold=0)
    before = cast(timedelta, first.utcoffset())
    instant = wall.replace(tzinfo=UTC) - before
    if _wall(instant, zone) == wall:
        return instant
    after = cast(timedelta, first.replace(fold=1).utcoffset())
    gap = after - before
    if gap >= DAY:
        return None
    # With the offset before the gap the instant lies behind it, with the one after the gap before it.
    start = wall.replace(tzinfo=UTC) - after
    return _first_change(start, instant, zone, before)


# --- calendar rules -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rule(Schedule):
    """A calendar rule (RFC 5545) on the wall clock of a zone. Made by ``rule`` from a dateutil rule or set.

    Kept as text, so that it can be compared, hashed, pickled and digested: each rule as
    ``DTSTART:…\\nRRULE:…`` in wall times of ``tz``.
    """

    tz: str
    rules: tuple[str, ...] = ()
    dates: tuple[datetime, ...] = ()
    except_rules: tuple[str, ...] = ()
    except_dates: tuple[datetime, ...] = ()
    jitter: float = 0.0

    anchor = "nominal"

    def _walk(self, after: datetime) -> Iterator[datetime]:
        if after >= LAST:
            return iter(())
        after = max(after, FIRST)
        zone = _zone(self.tz)
        return _once_each(self._walls(_wall(after, zone)), zone, after)

    def _walls(self, after: datetime) -> Iterator[datetime]:
        merged = _dateutil.rruleset()
        for text in self.rules:
            merged.rrule(_from(_parsed(text), after))
        for text in self.except_rules:
            merged.exrule(_from(_parsed(text), after))
        for date in self.dates:
            merged.rdate(date)
        for date in self.except_dates:
            merged.exdate(date)
        return (wall for wall in merged if wall > after)

    def period(self) -> timedelta | None:
        """Return the median distance of the first instants."""
        return _typical(self, FIRST)

    def describe(self) -> str:
        """Say it for people: ``FREQ=WEEKLY;BYDAY=MO in Europe/Berlin``."""
        parts = [text.partition("RRULE:")[2] for text in self.rules]
        if self.dates:
            parts.append(_some(len(self.dates), "date"))
        text = " and ".join(parts)
        left_out = [text.partition("RRULE:")[2] for text in self.except_rules]
        if self.except_dates:
            left_out.append(_some(len(self.except_dates), "date"))
        if left_out:
            text += f" except {' and '.join(left_out)}"
        return f"{text} in {self.tz}{self._spread()}"

    def _canonical(self) -> str:
        dates = "|".join(
            ",".join(date.isoformat() for date in sorted(dates)) for dates in (self.dates, self.except_dates)
        )
        rules = "|".join(",".join(sorted(texts)) for texts in (self.rules, self.except_rules))
        return f"rule|{self.tz}|{rules}|{dates}|{self.jitter!r}"


def rule(
    calendar_rule: _dateutil.rrule | _dateutil.rruleset,
    tz: str | tzinfo | None = None,
    *,
    jitter: float = 0.0,
) -> Rule:
    """Return a schedule from a dateutil ``rrule`` or ``rruleset``.

    A rule is read as wall times in one zone: that of its ``dtstart``, or ``tz`` where ``dtstart`` is naive.
    Give ``dtstart`` yourself: dateutil's default is the moment of declaration, which differs in every
    process. Times that a clock change skips or repeats happen once, as for a cron at a fixed time.

    Args:
        calendar_rule: The rule, or a set of rules, dates and exceptions, all in one zone.
        tz: A zone's name, a ``ZoneInfo`` or ``UTC``; needed where ``dtstart`` is naive, else left out.
        jitter: Share of the distance to the next instant, 0 to 0.1, over which keys are spread.

    Raises:
        DeclarationError: No zone, two zones, an empty set, or a rule that its own text does not describe.
    """
    inside: Any = calendar_rule
    if isinstance(calendar_rule, _dateutil.rrule):
        rules, dates, except_rules, except_dates = [calendar_rule], [], [], []
    elif isinstance(calendar_rule, _dateutil.rruleset):
        rules, dates = list(inside._rrule), list(inside._rdate)
        except_rules, except_dates = list(inside._exrule), list(inside._exdate)
    else:
        raise DeclarationError(f"rule(): expected a dateutil rrule or rruleset, not {calendar_rule!r}.")
    if not rules and not dates:
        raise DeclarationError(
            "rule(): the rruleset is empty; add a rule with .rrule(...) or a date with .rdate(...)."
        )
    every_rule: list[Any] = rules + except_rules
    stamps: list[datetime] = [one._dtstart for one in every_rule] + dates + except_dates
    zones = {
        None if stamp.tzinfo is None else _zone_name(stamp.tzinfo, "rule(): dtstart") for stamp in stamps
    }
    if len(zones) > 1:
        raise DeclarationError(
            f"rule(): its parts name different zones ({', '.join(sorted(map(str, zones)))}); give all one."
        )
    (own,) = zones
    asked = None if tz is None else _zone_name(tz, "rule()")
    if own is None and asked is None:
        raise DeclarationError(
            'rule(): dtstart is naive, so the zone is unknown. Write rule(..., tz="Europe/Berlin"), or give '
            "dtstart a tzinfo."
        )
    if own is not None and asked is not None and own != asked:
        raise DeclarationError(f"rule(): dtstart is in {own} but tz says {asked}. Leave tz out.")
    name = cast(str, own or asked)
    zone = _zone(name)
    return Rule(
        name,
        tuple(_as_text(one, zone) for one in rules),
        tuple(sorted(_naive(date, zone) for date in dates)),
        tuple(_as_text(one, zone) for one in except_rules),
        tuple(sorted(_naive(date, zone) for date in except_dates)),
        _jitter(jitter, "rule()"),
    )


def _as_text(one: Any, zone: tzinfo) -> str:
    naive = one.replace(
        dtstart=_naive(one._dtstart, zone), until=None if one._until is None else _naive(one._until, zone)
    )
    text = str(naive)
    if list(islice(_dateutil.rrulestr(text), 20)) != list(islice(naive, 20)):
        raise DeclarationError(
            f"rule(): {text!r} does not describe the rule it was made from; write it with rrulestr()."
        )
    return text


@lru_cache(maxsize=256)
def _parsed(text: str) -> Any:
    return _dateutil.rrulestr(text, cache="COUNT=" in text)  # only these are walked from the beginning


_STEPS = {
    _dateutil.WEEKLY: timedelta(weeks=1),
    _dateutil.DAILY: DAY,
    _dateutil.HOURLY: timedelta(hours=1),
    _dateutil.MINUTELY: timedelta(minutes=1),
    _dateutil.SECONDLY: timedelta(seconds=1),
}


def _from(one: Any, after: datetime) -> Any:
    """Return the rule begun as late as can be without changing what it says later than ``after``.

    dateutil walks from ``dtstart``; a minutely rule begun years ago would take seconds. Whole intervals are
    cut off the front. A rule with COUNT depends on its beginning and is left alone; months and years are few
    enough to walk.
    """
    step = _STEPS.get(one._freq)
    if step is None or one._count is not None:
        return one
    step *= one._interval
    periods = (
        after - one._dtstart
    ) // step - 2  # one for the period we are in, one for BYSETPOS and week starts
    return one if periods <= 0 else one.replace(dtstart=one._dtstart + periods * step)


def as_schedule(obj: Schedule | timedelta | _dateutil.rrule | _dateutil.rruleset) -> Schedule:
    """Return what a primer's ``schedule`` attribute means: a schedule, a ``timedelta``, or a dateutil rule.

    Raises:
        DeclarationError: Anything else, or a dateutil rule with a naive ``dtstart`` (write
            ``rule(..., tz=...)``).
    """
    if isinstance(obj, Schedule):
        return obj
    if isinstance(obj, timedelta):
        return every(obj)
    if isinstance(obj, (_dateutil.rrule, _dateutil.rruleset)):
        return rule(obj)
    hint = f" Did you mean cron({obj!r})?" if isinstance(obj, str) else ""
    raise DeclarationError(
        f'{obj!r} is not a schedule. Expected every(minutes=5), cron("30 2 * * *", tz="Europe/Berlin"), a '
        f"timedelta, or a dateutil rrule.{hint}"
    )


# --- zones, walls, words ------------------------------------------------------------------------------------

_FIXED = re.compile(r"([+-])(\d\d):(\d\d)")


@lru_cache(maxsize=1024)
def _zone(name: str) -> tzinfo:
    fixed = _FIXED.fullmatch(name)
    if fixed:
        distance = timedelta(hours=int(fixed[2]), minutes=int(fixed[3]))
        return timezone(distance if fixed[1] == "+" else -distance)
    return ZoneInfo(name)


def _zone_name(tz: object, who: str) -> str:
    """Return the name of a zone given as name or tzinfo; fixed offsets are named ``+02:00``."""
    if isinstance(tz, ZoneInfo) and tz.key is not None:
        return tz.key
    if isinstance(tz, str):
        try:
            _zone(tz)
        except (KeyError, ValueError, OSError):
            near = difflib.get_close_matches(tz, sorted(available_timezones()), n=3)
            hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise DeclarationError(
                f'{who}: no time zone is named {tz!r}. Expected a name like "Europe/Berlin".{hint}'
            ) from None
        return tz
    if isinstance(tz, tzinfo):
        if tz is UTC or type(tz).__name__ == "tzutc":
            return "UTC"
        if isinstance(tz, timezone) or type(tz).__name__ == "tzoffset":
            minutes, rest = divmod(cast(timedelta, tz.utcoffset(None)), timedelta(minutes=1))
            if not rest:
                return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
        filename = str(getattr(tz, "_filename", ""))  # dateutil's tzfile
        name = filename.rpartition("zoneinfo/")[2]
        if name in available_timezones():
            return name
    raise DeclarationError(
        f'{who}: expected a time zone\'s name like "Europe/Berlin", or a ZoneInfo, not {tz!r}.'
    )


def _utc(instant: object, name: str) -> datetime:
    if not isinstance(instant, datetime) or instant.utcoffset() is None:
        raise ValueError(
            f"{name} must be an aware datetime, not {instant!r}. Give it a tzinfo, for example UTC."
        )
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        return FIRST if instant.year == 1 else datetime.max.replace(tzinfo=UTC)


def _offset(instant: datetime, zone: tzinfo) -> timedelta:
    return cast(timedelta, instant.astimezone(zone).utcoffset())


def _wall(instant: datetime, zone: tzinfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def _naive(stamp: datetime, zone: tzinfo) -> datetime:
    return stamp if stamp.tzinfo is None else _wall(stamp.astimezone(UTC), zone)


def _shifted(at: datetime, by: timedelta) -> datetime:
    try:
        return at + by
    except OverflowError:
        return FIRST


@lru_cache(maxsize=1024)
def _typical(schedule: Schedule, start: datetime) -> timedelta | None:
    instants = list(islice(schedule._walk(start), SAMPLE))
    gaps = [later - earlier for earlier, later in pairwise(instants)]
    return statistics.median_low(gaps) if gaps else None


def _jitter(share: object, who: str) -> float:
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= MAX_JITTER:
        raise DeclarationError(
            f"{who}: jitter must be a share from 0 to {MAX_JITTER}, for example 0.05; it is {share!r}."
        )
    return float(share)


def _given(parts: dict[str, float]) -> str:
    return ", ".join(f"{name}={part!r}" for name, part in parts.items() if part)


def _some(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _duration(duration: timedelta) -> str:
    """Say a duration: ``90 minutes`` as ``1 hour 30 minutes``."""
    seconds, ticks = divmod(duration, timedelta(seconds=1))
    words = []
    for size, word in ((604800, "week"), (86400, "day"), (3600, "hour"), (60, "minute")):
        if word == "week" and seconds % size:
            continue  # ten days are ten days, not a week and three
        count, seconds = divmod(seconds, size)
        if count:
            words.append(_some(count, word))
    if seconds or ticks:
        exact = seconds + ticks / timedelta(seconds=1)
        words.append(f"{exact:g} second{'' if exact == 1 else 's'}")
    return " ".join(words)
