"""A chart in one sentence, for those who hear it, and for those who have no time to look."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal

from ..entry import Point
from .scales import drawn
from .sheet import MONTHS, counted, in_progress_from, plain_number, rounded, same

Bucket = Literal["second", "minute", "hour", "day", "week", "month", "year", "step"]

# Whole phrases, one for each unit: a language may need another word order for each.
_MISSING: dict[str, tuple[str, str]] = {
    "second": ("{count} second without a value", "{count} seconds without a value"),
    "minute": ("{count} minute without a value", "{count} minutes without a value"),
    "hour": ("{count} hour without a value", "{count} hours without a value"),
    "day": ("{count} day without a value", "{count} days without a value"),
    "week": ("{count} week without a value", "{count} weeks without a value"),
    "month": ("{count} month without a value", "{count} months without a value"),
    "year": ("{count} year without a value", "{count} years without a value"),
    "step": ("{count} step without a value", "{count} steps without a value"),
}


def plain_period(first: datetime, last: datetime) -> str:
    """Return a range of days as English says it: ``1 to 30 June``, ``28 May to 3 June``, ``12 June``; of years that
    differ, with both.

    Args:
        first, last: When the first and the last window begin, in the zone.
    """
    one, other = f"{first.day} {MONTHS[first.month - 1]}", f"{last.day} {MONTHS[last.month - 1]}"
    if first.year != last.year:
        return f"{one} {first.year} to {other} {last.year}"
    if first.date() == last.date():
        return one
    return f"{first.day} to {other}" if first.month == last.month else f"{one} to {other}"


def plain_when(start: datetime, bucket: Bucket) -> str:
    """Return when the highest was, as English says it: ``12 June``, ``June 2026``, ``12 June, 14:00``."""
    if bucket == "year":
        return str(start.year)
    if bucket == "month":
        return f"{MONTHS[start.month - 1]} {start.year}"
    day = f"{start.day} {MONTHS[start.month - 1]}"
    if bucket in ("day", "week"):
        return day
    return f"{day}, {start:%H:%M:%S}" if bucket == "second" else f"{day}, {start:%H:%M}"


def bucket_of(points: Sequence[Point]) -> Bucket:
    """Return what the steps of a series are called, by the length of the first."""
    if not points:
        return "step"
    length = (points[0].end - points[0].start).total_seconds()
    known: tuple[tuple[Bucket, float, float], ...] = (
        ("second", 1, 1),
        ("minute", 60, 60),
        ("hour", 3600, 3600),
        ("day", 82_800, 90_000),
        ("week", 601_200, 608_400),
        ("month", 2_415_600, 2_682_000),
        ("year", 31_532_400, 31_626_000),
    )
    return next((name for name, least, most in known if least <= length <= most), "step")


def summary(
    name: str,
    points: Sequence[Point],
    *,
    zone: tzinfo = UTC,
    bucket: Bucket | None = None,
    number: Callable[[Any], str] = plain_number,
    period: Callable[[datetime, datetime], str] = plain_period,
    when: Callable[[datetime, Bucket], str] = plain_when,
    gettext: Callable[[str], str] = same,
    ngettext: Callable[[str, str, int], str] = counted,
) -> str:
    """Return a series in one sentence.

    ``Sign-ups per day, 1 to 30 June: between 12 and 66, 31 on average; latest 42 (in progress); highest 66 on 12 June;
    2 days without a value.``

    Args:
        name: What is measured, with its unit: ``Sign-ups per day``.
        points: In any order. The lowest, the highest and the average are those of the complete ones, if there are any.
        zone: In which days begin.
        bucket: What a step is called; as its length says.
        number, period, when: Say a value, the range of time, and when the highest was.
        gettext, ngettext: Translate; the texts have named places.
    """
    points = sorted(points, key=lambda point: point.start.timestamp())
    bucket = bucket or bucket_of(points)
    if not points:
        return gettext("{name}: no values.").format(name=name)
    first, last = (points[at].start.astimezone(zone) for at in (0, -1))
    named = {"name": name, "period": period(first, last)}
    there = [point for point in points if drawn(point.value) is not None]
    missing = len(points) - len(there)
    singular, plural = _MISSING[bucket]
    gaps = ngettext(singular, plural, missing).format(count=f"{missing:,}")
    if not there:
        return gettext("{name}, {period}: no values; {gaps}.").format(**named, gaps=gaps)
    told = [point for point in there if point.complete] or there
    low, high = (by(told, key=lambda point: drawn(point.value) or 0.0) for by in (min, max))
    numbers = [drawn(point.value) or 0.0 for point in told]
    mean = rounded(math.fsum(value / len(numbers) for value in numbers), numbers)
    latest = there[-1]
    progress = any(point is latest for point in points[in_progress_from(points) :])
    named |= {
        "low": number(low.value),
        "high": number(high.value),
        "mean": number(mean),
        "latest": number(latest.value),
        "when": when(high.start.astimezone(zone), bucket),
        "gaps": gaps,
    }
    return gettext(
        _sentence(len(there), drawn(low.value) == drawn(high.value), progress, missing > 0)
    ).format(**named)


def _sentence(values: int, constant: bool, progress: bool, gaps: bool) -> str:
    """Which sentence says it: whole ones, since languages differ in more than words."""
    if values == 1 and progress:
        return (
            "{name}, {period}: {latest} (in progress); {gaps}."
            if gaps
            else "{name}, {period}: {latest} (in progress)."
        )
    if values == 1:
        return "{name}, {period}: {latest}; {gaps}." if gaps else "{name}, {period}: {latest}."
    if constant and progress:
        return (
            "{name}, {period}: always {high}; latest {latest} (in progress); {gaps}."
            if gaps
            else "{name}, {period}: always {high}; latest {latest} (in progress)."
        )
    if constant:
        return (
            "{name}, {period}: always {high}; latest {latest}; {gaps}."
            if gaps
            else "{name}, {period}: always {high}; latest {latest}."
        )
    if progress:
        return (
            "{name}, {period}: between {low} and {high}, {mean} on average; latest {latest} (in progress); "
            "highest {high} on {when}; {gaps}."
            if gaps
            else "{name}, {period}: between {low} and {high}, {mean} on average; latest {latest} (in progress); "
            "highest {high} on {when}."
        )
    return (
        "{name}, {period}: between {low} and {high}, {mean} on average; latest {latest}; "
        "highest {high} on {when}; {gaps}."
        if gaps
        else "{name}, {period}: between {low} and {high}, {mean} on average; latest {latest}; "
        "highest {high} on {when}."
    )
