"""Windows of time: where each begins, how it is spelled, and the SQL that says which one an instant is in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from django.conf import settings

from .conf import conf
from .errors import DeclarationError

UNITS = ("hour", "day", "week", "month")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHORT = re.compile(r"([1-9]\d{0,5})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_CALENDAR = {"1h": "hour", "1d": "day", "1w": "week"}
HOUR, SECOND, DAY = timedelta(hours=1), timedelta(seconds=1), timedelta(days=1)
# How often it is looked whether hours begin at another minute: no zone has changed that to and fro within it.
_LOOK = timedelta(hours=6)


@dataclass(frozen=True)
class Window:
    """Half-open intervals, one after the other.

    Args:
        size: ``"hour" "day" "week" "month"``, or a timedelta.
        tz: Zone in which days, weeks (from ``KCK_FLOW["WEEK_START"]`` on) and months begin; hours begin in UTC unless
            the zone is given. Where its clock is put forward or back by half an hour (Lord Howe), the hour of then is
            two: before, and after. A day begins at the first instant of its date, once: what is put back over that
            (Havana, at one o'clock) is of the day that had begun.

    Raises:
        DeclarationError: there is no such size or zone.
    """

    size: str | timedelta
    tz: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.size, timedelta):
            if self.size < timedelta(seconds=1):
                raise DeclarationError(f"window must be a second or longer, not {self.size!r}.")
        elif self.size not in UNITS:
            raise DeclarationError(
                f"window must be a timedelta or one of {', '.join(UNITS)}, not {self.size!r}."
            )
        try:
            self.zone  # noqa: B018
        except (ValueError, LookupError):
            raise DeclarationError(
                f"tz must be a time zone such as 'Europe/Paris', not {self.tz!r}."
            ) from None

    @property
    def zone(self) -> ZoneInfo:
        if self.tz is not None:
            return ZoneInfo(self.tz)
        return ZoneInfo("UTC" if self.size == "hour" else settings.TIME_ZONE or "UTC")

    def step(self, first: datetime, last: datetime) -> timedelta | None:
        """Return how long each window is that begins in ``[first, last]``; None where that differs."""
        if isinstance(self.size, timedelta):
            return self.size
        zone = self.zone
        fixed = zone.utcoffset(None) is not None
        if self.size == "hour":
            years = () if fixed else range(max(first.year, 2), min(last.year, 9998) + 1)
            phases = {phase for year in years for phase in _phases(zone, year)}
            return HOUR if len(phases) < 2 else None
        days = {"day": 1, "week": 7}.get(self.size)
        return timedelta(days=days) if fixed and days is not None else None

    @property
    def is_dated(self) -> bool:
        """Whether its windows begin with days of the zone."""
        return isinstance(self.size, str) and self.size != "hour"

    def day(self, text: str) -> datetime:
        """Return the instant at which a day of the zone begins that ``text`` spells, or the first of a week
        (``2026-W05``) or month (``2026-01``). Raises ValueError: it spells none.
        """
        if "W" in text:
            text = text if text.count("-") == 2 else f"{text}-1"
        elif text.count("-") == 1:
            text = f"{text}-01"
        day = datetime.fromisoformat(text)
        if not 2 <= day.year <= 9998:
            raise ValueError(f"{text!r} is out of range")
        return Window("day", self.tz).start_of(day.replace(hour=12, tzinfo=self.zone))

    def start_of(self, at: datetime) -> datetime:
        """Return the beginning of the window that an aware instant is in, in UTC."""
        if isinstance(self.size, timedelta):
            return EPOCH + (at - EPOCH) // self.size * self.size
        if self.size == "hour":
            return self._hour(at.astimezone(UTC))
        local = at.astimezone(self.zone)
        day = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0, tzinfo=None)
        # The clock was put back: over the beginning of a day, which was before.
        if local.fold and first_instant(self.zone, day + DAY) <= at:
            day += DAY
        if self.size == "week":
            day -= timedelta(days=(day.weekday() - week_start()) % 7)
        elif self.size == "month":
            day = day.replace(day=1)
        return first_instant(self.zone, day)

    def _hour(self, at: datetime) -> datetime:
        # By the clock of the zone, whose offset may have minutes; an hour that comes twice is two hours.
        zone = self.zone
        phase = _phase(zone, at)
        start = at - (at - EPOCH + phase) % HOUR
        if zone.utcoffset(None) is not None or _phase(zone, start) == phase:
            return start
        return _turn(zone, start, at)

    def after(self, start: datetime) -> datetime:
        """Return the beginning of the next window."""
        if isinstance(self.size, timedelta):
            return start + self.size
        if self.size == "hour":
            start, zone = start.astimezone(UTC), self.zone
            phase = _phase(zone, start)
            end = start + HOUR - (start - EPOCH + phase) % HOUR
            if zone.utcoffset(None) is not None or _phase(zone, end - SECOND) == phase:
                return end
            return _turn(zone, start, end - SECOND)
        days = {"day": 1, "week": 7, "month": 31}[self.size]
        zone = self.zone
        if zone.key == "UTC" and self.size != "month":  # all are of one length
            return start.astimezone(UTC) + timedelta(days=days)
        local = start.astimezone(zone).replace(tzinfo=None) + timedelta(days=days, hours=1)
        return self.start_of(local.replace(tzinfo=zone))

    def text_of(self, start: datetime) -> str:
        """Return how a window is spelled: ``2026-01-31``, ``2026-W05``, ``2026-01``, ``2026-01-31T10`` (in UTC). Weeks
        that do not begin on Mondays are not those of ISO 8601: they are spelled by their first day.
        """
        if isinstance(self.size, timedelta) or self.size == "hour":
            text = start.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
            return text.removesuffix(":00").removesuffix(":00") if self.size == "hour" else f"{text}Z"
        local = start.astimezone(self.zone)
        if self.size == "week" and not week_start():
            year, week, _ = local.isocalendar()
            return f"{year:04}-W{week:02}"
        return local.strftime("%Y-%m" if self.size == "month" else "%Y-%m-%d")

    def parse(self, text: str) -> datetime:
        """Return the beginning of the window that ``text`` spells. Raises ValueError: it spells none."""
        if isinstance(self.size, timedelta) or self.size == "hour":
            at = datetime.fromisoformat(text if "T" in text else f"{text}T00")
            at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        else:
            if self.size == "week" and "W" in text:
                if week_start():
                    raise ValueError(
                        f"weeks begin on {conf.WEEK_START.title()}: write its first day, not {text!r}"
                    )
                text = text if text.count("-") == 2 else f"{text}-1"
            elif self.size == "month" and text.count("-") == 1:
                text = f"{text}-01"
            at = datetime.fromisoformat(text)
            if at.tzinfo is None and 2 <= at.year <= 9998:
                at = first_instant(self.zone, at)
        if not 2 <= at.year <= 9998:
            raise ValueError(f"{text!r} is out of range")
        if self.start_of(at) != at:
            raise ValueError(f"{text!r} is not where a window begins")
        return at.astimezone(UTC)

    def sql(self, at: str) -> str:
        """Return SQL of the beginning of the window that the instant ``at`` (SQL) is in."""
        if isinstance(self.size, timedelta):
            size = f"'{self.size.total_seconds()!r} seconds'::interval"
            return f"date_bin({size}, {at}, '1970-01-01T00:00:00Z'::timestamptz)"
        if self.size == "hour":  # date_trunc would put the second of two like hours into the first
            zone = self.zone
            local = f"({at} AT TIME ZONE '{zone.key}')"
            start = f"({at} - ({local} - date_trunc('hour', {local})))"
            if zone.utcoffset(None) is not None:
                return start
            # As _turn: where the hour does not begin at a whole one, the clock was put by less than an hour within it.
            begins = f"({start} AT TIME ZONE '{zone.key}')"
            offset = f"{local} - ({at} AT TIME ZONE 'UTC')"
            turn = (
                f"SELECT min(s) FROM generate_series({start}, {at}, '1 second'::interval) AS t (s) "
                f"WHERE (s AT TIME ZONE '{zone.key}') - (s AT TIME ZONE 'UTC') = {offset}"
            )
            return f"(CASE WHEN {begins} = date_trunc('hour', {begins}) THEN {start} ELSE ({turn}) END)"
        by, ahead = f"AT TIME ZONE '{self.zone.key}'", ""
        if self.size == "week" and week_start():  # to date_trunc, it is always Monday
            ahead = f"'{7 - week_start()} days'::interval"
        if not _is_crooked(self.zone):
            if ahead:
                return f"((date_trunc('week', ({at} {by}) + {ahead}) - {ahead}) {by})"
            return f"date_trunc('{self.size}', {at}, '{self.zone.key}')"
        # As start_of; date_trunc takes the later of two midnights, which is after what is between them.

        def begin(day: str) -> str:
            usual = f"({day} {by})"
            before = f"({usual} - '25 hours'::interval)"
            earlier = f"(({day} AT TIME ZONE 'UTC') - (({before} {by}) - ({before} AT TIME ZONE 'UTC')))"
            shows = f"(s {by}) >= {day} AND ((s - '1 microsecond'::interval) {by}) < {day}"
            seconds = f"generate_series({usual} - '2 hours'::interval, {usual}, '1 second'::interval)"
            return (
                f"coalesce((SELECT min(s) FROM (VALUES ({usual}), ({earlier})) AS v (s) WHERE {shows}), "
                f"(SELECT min(s) FROM {seconds} AS v (s) WHERE {shows}))"
            )

        first, following = f"date_trunc('{self.size}', n.day)", "(a.day + '1 day'::interval)"
        if ahead:
            first = f"(date_trunc('week', n.day + {ahead}) - {ahead})"
        return (
            f"(SELECT {begin(first)} FROM (SELECT {at} AS at, date_trunc('day', {at} {by}) AS day) AS a "
            f"CROSS JOIN LATERAL (SELECT CASE WHEN {begin(following)} <= a.at THEN {following} ELSE a.day END "
            "AS day) AS n)"
        )

    def text_sql(self, start: str) -> str:
        """Return SQL of how the window is spelled that begins at ``start`` (SQL), as ``text_of`` does."""
        if isinstance(self.size, timedelta) or self.size == "hour":
            text = f"to_char({start} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS')"
            return f"regexp_replace({text}, '(:00){{1,2}}$', '')" if self.size == "hour" else f"{text} || 'Z'"
        form = {"day": "YYYY-MM-DD", "week": 'IYYY-"W"IW', "month": "YYYY-MM"}[self.size]
        if self.size == "week" and week_start():
            form = "YYYY-MM-DD"
        return f"to_char({start} AT TIME ZONE '{self.zone.key}', '{form}')"


def first_instant(zone: ZoneInfo, wall: datetime) -> datetime:
    """Return the first instant, in UTC, at which a zone's clock shows ``wall`` (naive), or is past it where it is put
    over it.
    """
    at = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) == wall:
        return at
    low = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    while at - low > SECOND:
        middle = low + (at - low) // SECOND // 2 * SECOND
        if middle.astimezone(zone).replace(tzinfo=None) < wall:
            low = middle
        else:
            at = middle
    return at


def quarter(at: datetime) -> int:
    """Return which quarter of an hour an instant is in, counted from 1970: while it is the same, no period of an hour
    or more ends, in any zone of today.
    """
    return int(at.timestamp() // 900)


def week_start() -> int:
    """Return the day on which weeks begin, 0 for Monday to 6 for Sunday."""
    return WEEKDAYS.index(conf.WEEK_START)


@lru_cache(maxsize=1000)
def _is_crooked(zone: ZoneInfo) -> bool:
    """Whether some day from 2000 to 2037 begins otherwise than SQL's ``date_trunc`` says: its midnight comes twice, or
    is skipped by a clock that is not put at it. From 2038 on the rules of a zone are those of the years before.
    """
    if zone.utcoffset(None) is not None:
        return False
    noon = datetime(1999, 12, 30, 12, tzinfo=zone)
    while noon.year < 2038:
        later = noon + 4 * DAY  # by its own clock: noons
        if later.utcoffset() != noon.utcoffset():
            for number in range(6):
                midnight = (noon + number * DAY).replace(hour=0)
                twice = midnight.replace(fold=1).utcoffset() != midnight.utcoffset()
                usual = midnight.replace(fold=0).astimezone(UTC)
                begins = first_instant(zone, midnight.replace(tzinfo=None))
                back = midnight.replace(fold=1).astimezone(UTC) > usual
                if begins != usual or (twice and back):
                    return True
        noon = later
    return False


def _phase(zone: ZoneInfo, at: datetime) -> timedelta:
    """Return how far behind the beginning of an hour of UTC a zone's clock is ahead of it, at an instant."""
    offset = at.astimezone(zone).utcoffset()
    assert offset is not None
    return offset % HOUR


def _turn(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """Return the instant, a whole second, from which on hours begin at the minute at which they do at ``after``, and do
    not at ``before``.
    """
    phase = _phase(zone, after)
    after = after.replace(microsecond=0)
    while after - before > SECOND:
        middle = before + (after - before) // SECOND // 2 * SECOND
        if _phase(zone, middle) == phase:
            after = middle
        else:
            before = middle
    return after


@lru_cache(maxsize=1000)
def _phases(zone: ZoneInfo, year: int) -> frozenset[timedelta]:
    at, end = datetime(year, 1, 1, tzinfo=UTC) - _LOOK, datetime(year + 1, 1, 1, tzinfo=UTC) + _LOOK
    found = set()
    while at < end:
        found.add(_phase(zone, at))
        at += _LOOK
    return frozenset(found)


def as_window(size: str | timedelta, tz: str | None = None) -> Window:
    """Return the windows of a size: a timedelta, ``"hour" "day" "week" "month"``, or short, ``"15s" "5m" "1h" "1d"``.

    ``1h``, ``1d`` and ``1w`` are those of the calendar; ``7d`` is a timedelta, counted from 1970-01-01 UTC.

    Raises:
        DeclarationError: there is no such size or zone.
    """
    if isinstance(size, str) and size not in UNITS:
        short = _SHORT.fullmatch(size)
        if short is None:
            raise DeclarationError(
                f"a window is a timedelta, one of {', '.join(UNITS)}, or short, as in 15s, 5m, 1h, 1d; not {size!r}."
            )
        size = _CALENDAR.get(size) or timedelta(seconds=int(short[1]) * _SECONDS[short[2]])
    return Window(size, tz)
