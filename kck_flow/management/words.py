"""Words for people: durations, instants, sizes and values, as every listing says them; and how options are spelled.

Pure, but for the zone in which instants are shown. What programs read (JSON, CSV) has seconds and ISO 8601 instead.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from ..codec import encode_plain
from ..primer import LANES

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_SIZES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_HALF = re.compile(r"[\ud800-\udfff]")
# What a terminal without UTF-8 gets for the signs that we use ourselves.
_ASCII = str.maketrans(
    {
        "✓": "ok",
        "✗": "NO",
        "—": "-",
        "–": "-",
        "·": "|",
        "→": "->",
        "…": "...",
        "├": "|",
        "└": "`",
        "─": "-",
        "│": "|",
    }
)


def ascii_only(text: str) -> str:
    """Return ``text`` with our own signs spelled in ASCII; letters of other people's texts stay."""
    return text.translate(_ASCII)


def printable(text: str) -> str:
    """Return ``text`` with control characters escaped: no key or error may move a terminal's cursor."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def clipped(text: str, width: int) -> str:
    """Return ``text`` in at most ``width`` characters, its cut marked."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def count(number: int, noun: str, plural: str = "") -> str:
    """Return ``1 product``, ``2 products``, ``4,391 products``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def span(seconds: float | None) -> str:
    """Return a duration in its one fitting unit: ``0.8 s``, ``4 min``, ``2 h``, ``3 d``; ``-`` for none."""
    if seconds is None:
        return "-"
    size = abs(seconds)
    for limit, unit in ((0.0995, "ms"), (99.5, "s"), (3570, "min"), (36 * 3600, "h")):
        if size < limit:
            value = seconds / _UNITS[unit]
            short = unit in ("s", "h") and size / _UNITS[unit] < 9.95 and abs(value - round(value)) >= 0.05
            return f"{value:.1f} {unit}" if short else f"{value:.0f} {unit}"
    return f"{seconds / 86_400:,.0f} d"


def ahead(seconds: float) -> str:
    """Return ``in 11 min``, ``now`` or ``4 s ago``."""
    if abs(seconds) < 0.5:
        return "now"
    return f"in {span(seconds)}" if seconds > 0 else f"{span(-seconds)} ago"


def local(at: datetime) -> datetime:
    """Return an instant in the project's zone, whether or not the project uses aware instants."""
    return at.astimezone(timezone.get_current_timezone())


def instant(at: datetime | None, now: datetime) -> str:
    """Return an instant as people say it, in the project's zone: ``09:12`` today, else ``2026-01-31 09:12``."""
    if at is None:
        return "-"
    shown, today = local(at), local(now)
    return shown.strftime("%H:%M:%S" if shown.date() == today.date() else "%Y-%m-%d %H:%M")


def size(number: int | None) -> str:
    """Return a number of bytes: ``87 B``, ``1.2 kB``, ``3.4 MB``."""
    if number is None:
        return "-"
    for limit, unit in ((1000, "B"), (1_000_000, "kB"), (1_000_000_000, "MB")):
        if number < limit:
            return f"{number} B" if unit == "B" else f"{number / limit * 1000:.1f} {unit}"
    return f"{number / 1e9:.1f} GB"


def value(found: Any, width: int = 60) -> str:
    """Return a product's value in one line for a listing: numbers grouped, the rest as JSON, cut at ``width``."""
    if isinstance(found, bool) or found is None:
        return {True: "true", False: "false", None: "none"}[found]
    if isinstance(found, (int, float)):
        return f"{found:,}"
    text = found if isinstance(found, str) else encode_plain(found)
    return clipped(printable(text), width)


# -- values on the command line ---------------------------------------------------------------------------------------


def read_value(text: str) -> Any:
    """Return the value that an argument spells: JSON, or the text itself where it is none.

    NaN and Infinity, which JSON does not have, are text.
    """
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return text


def spell_value(found: Any) -> str:
    """Return what ``read_value`` reads back: a text as it is unless that would be read as something else, else JSON."""
    if isinstance(found, str) and isinstance(read_value(found), str) and not _HALF.search(found):
        return found
    return encode_plain(found)


def _no_number(name: str) -> Any:
    raise ValueError(name)


# -- types of options -------------------------------------------------------------------------------------------------


# Ten thousand years, in seconds: longer than anything has been kept.
LONGEST = 10_000 * 366 * 86_400.0


def seconds(text: str) -> float:
    """Read a duration: ``90``, ``90s``, ``15m``, ``12h``, ``7d``. Raises ArgumentTypeError."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", text.strip().lower())
    if found is None or (found[2] or "s") not in _UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: write seconds (90), or 90s, 15m, 12h, 7d")
    length = float(found[1]) * _UNITS[found[2] or "s"]
    if length > LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is too long a duration")
    return length


def duration_or_never(text: str) -> timedelta | None:
    """Read a duration, or ``never``. Raises ArgumentTypeError."""
    if text.strip().lower() in ("never", "none"):
        return None
    try:
        return timedelta(seconds=seconds(text))
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or never") from None
    except OverflowError:
        raise argparse.ArgumentTypeError(f"{text!r} is too long a duration: write never") from None


def number_of_bytes(text: str) -> int:
    """Read a size: ``512M``, ``2G``. Raises ArgumentTypeError."""
    found = re.fullmatch(r"([0-9]+)([KMG]?)I?B?", text.strip().upper())
    if found is None or not int(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write bytes, or 800K, 512M, 2G")
    return int(found[1]) * _SIZES[found[2]]


def at_least(least: int) -> Any:
    """Return a reader of whole numbers from ``least`` on."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least {least}")
        return number

    return read


def lane(text: str) -> int:
    """Read the number of a lane. Raises ArgumentTypeError."""
    if not text.strip().isdecimal() or int(text) not in LANES:
        raise argparse.ArgumentTypeError(f"{text!r} is no lane: write a number from 0 to {LANES[-1]}")
    return int(text)


def aware(text: str) -> datetime:
    """Read an instant in ISO 8601; one without an offset is in the project's zone. Raises ArgumentTypeError."""
    try:
        found = datetime.fromisoformat(text.strip())
        found = (found if found.tzinfo else timezone.make_aware(found)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is no instant: write 2026-01-31T09:00:00+01:00") from None
    if not 2 <= found.year <= 9998:  # a window around it must have a beginning and an end
        raise argparse.ArgumentTypeError(f"{text!r} is out of range: write a year from 2 to 9998")
    return found


def names(text: str) -> list[str]:
    """Read a list of names: ``a,b``. Raises ArgumentTypeError."""
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} names nothing: write names with commas between them")
    return found


def nearest(text: str, known: Iterable[str]) -> str:
    """Return ``Did you mean 'x'? `` for the nearest of some names, or nothing."""
    near = difflib.get_close_matches(text, list(known), n=1)
    return f"Did you mean {near[0]!r}? " if near else ""
