"""Windows of time: where each begins, how it is spelled, and the SQL that says which one an instant is in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings

from .errors import DeclarationError

UNITS = ("hour", "day", "week", "month")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHORT = re.compile(r"([1-9]\d{0,5})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_CALENDAR = {"1h": "hour", "1d": "day", "1w": "week"}


@dataclass(frozen=True)
class Window:
    """Half-open intervals, one after the other.

    Args:
        size: ``"hour" "day" "week" "month"``, or a timedelta.
        tz: Zone in which days, weeks (from Monday) and months begin; hours begin in UTC unless the zone is given.

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
        local = at.astimezone(self.zone)
        if self.size == "hour":
            # By the clock of the zone, whose offset may have minutes; an hour that comes twice is two hours.
            return (
                at - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
            ).astimezone(UTC)
        day = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        if self.size == "week":
            day -= timedelta(days=day.weekday())
        elif self.size == "month":
            day = day.replace(day=1)
        return day.astimezone(UTC)

    def after(self, start: datetime) -> datetime:
        """Return the beginning of the next window."""
        if isinstance(self.size, timedelta):
            return start + self.size
        if self.size == "hour":
            return self.start_of(start + timedelta(minutes=61))
        days = {"day": 1, "week": 7, "month": 31}[self.size]
        zone = self.zone
        if zone.key == "UTC" and self.size != "month":  # all are of one length
            return start.astimezone(UTC) + timedelta(days=days)
        local = start.astimezone(zone).replace(tzinfo=None) + timedelta(days=days, hours=1)
        return self.start_of(local.replace(tzinfo=zone))

    def text_of(self, start: datetime) -> str:
        """Return how a window is spelled: ``2026-01-31``, ``2026-W05``, ``2026-01``, ``2026-01-31T10`` (in UTC)."""
        if isinstance(self.size, timedelta) or self.size == "hour":
            text = start.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
            return text.removesuffix(":00").removesuffix(":00") if self.size == "hour" else f"{text}Z"
        local = start.astimezone(self.zone)
        if self.size == "week":
            year, week, _ = local.isocalendar()
            return f"{year:04}-W{week:02}"
        return local.strftime("%Y-%m-%d" if self.size == "day" else "%Y-%m")

    def parse(self, text: str) -> datetime:
        """Return the beginning of the window that ``text`` spells. Raises ValueError: it spells none."""
        if isinstance(self.size, timedelta) or self.size == "hour":
            at = datetime.fromisoformat(text if "T" in text else f"{text}T00")
            at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        elif self.size == "week" and "W" in text:
            at = datetime.fromisoformat(text if text.count("-") == 2 else f"{text}-1").replace(
                tzinfo=self.zone
            )
        else:
            at = datetime.fromisoformat(
                f"{text}-01" if self.size == "month" and text.count("-") == 1 else text
            )
            at = at.replace(tzinfo=self.zone) if at.tzinfo is None else at
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
            local = f"({at} AT TIME ZONE '{self.zone.key}')"
            return f"({at} - ({local} - date_trunc('hour', {local})))"
        return f"date_trunc('{self.size}', {at}, '{self.zone.key}')"

    def text_sql(self, start: str) -> str:
        """Return SQL of how the window is spelled that begins at ``start`` (SQL), as ``text_of`` does."""
        if isinstance(self.size, timedelta) or self.size == "hour":
            text = f"to_char({start} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS')"
            return f"regexp_replace({text}, '(:00){{1,2}}$', '')" if self.size == "hour" else f"{text} || 'Z'"
        form = {"day": "YYYY-MM-DD", "week": 'IYYY-"W"IW', "month": "YYYY-MM"}[self.size]
        return f"to_char({start} AT TIME ZONE '{self.zone.key}', '{form}')"


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
