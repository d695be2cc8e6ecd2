"""Two points of a product's history beside each other: what an address asks for by ``one`` and ``other``."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.utils.translation import gettext as _

from .. import wording
from ..cache import history
from ..codec import encode_plain
from ..entry import Point
from ..errors import KckFlowError
from ..key import Key
from ..registry import registry
from .captions import Caption
from .drawn import moment
from .ranges import BadParameter, Range
from .reading import Trend

PARAMETERS: Final = ("one", "other")
MOST_CHOICES: Final = 400  # the newest
MOST_LINES: Final = 200  # of what differs


@dataclass
class Compared:
    """Two points of a history, or those that can be asked for.

    Attributes:
        choices: Of each point: the instant that an address names, when that was in words, whether it is the one and
            whether it is the other.
        asked: Whether two are asked for.
        said: What they were, in words.
        lines: Where they are no numbers, how they differ: (``+``, ``-`` or a blank; a line) each.
        more: How many lines are left out.
        first, last: The instants of the oldest and the newest.
    """

    choices: list[tuple[str, str, bool, bool]] = field(default_factory=list)
    asked: bool = False
    said: str = ""
    lines: list[tuple[str, str]] = field(default_factory=list)
    more: int = 0
    first: str = ""
    last: str = ""
    values: tuple[Any, Any] | None = None


def of(key: Key, words: Caption, trend: Trend, over: Range, asked: Mapping[str, Any]) -> Compared | None:
    """Return what of a product's history over a range can be compared, and what is; None where there are not two.

    Raises:
        BadParameter: an address names an instant at which no point begins.
    """
    numbers = [one for one in trend.points if one.value is not None]
    points = numbers or _recorded(key, over)
    points = points[-MOST_CHOICES:]
    given = [str(asked.get(name) or "") for name in PARAMETERS]
    if len(points) < 2:
        if any(given):
            raise BadParameter("one", f"{str(key)!r} has no two points in this range.")
        return None
    texts = {_text(one.start, over): one for one in points}
    first, last = next(iter(texts)), next(reversed(texts))
    if not any(given):
        return Compared(first=first, last=last)
    picked = []
    for name, text in zip(PARAMETERS, given, strict=True):
        # A plus of an address that nobody escaped is a blank by now.
        found = texts.get(text.replace(" ", "+"))
        if found is None:
            raise BadParameter(
                name, f"{name} is where a point of this range begins, such as {last}; not {text!r}."
            )
        picked.append(found)
    one, other = sorted(picked, key=lambda point: point.start)
    choices = [
        (text, _when(point, over), point is picked[0], point is picked[1]) for text, point in texts.items()
    ]
    made = Compared(choices, True, first=first, last=last, values=(one.value, other.value))
    if numbers:
        made.said = _numbers(words, one, other, over)
    else:
        made.said = f"{_when(one, over)} → {_when(other, over)}"
        lines = _lines(one.value, other.value)
        made.lines, made.more = lines[:MOST_LINES], max(len(lines) - MOST_LINES, 0)
        if not lines:
            made.said += ": " + _("there is no difference")
    return made


def _recorded(key: Key, over: Range) -> list[Point]:
    """Return each value that a product without numbers had, where its history is kept."""
    primer = registry.primers.get(key.key_base)
    if primer is None or not primer.keep_history:
        return []
    try:
        return [one for one in history.series(key, over.start, over.until, by=None) if one.value is not None]
    except (KckFlowError, ValueError):
        return []


def _text(at: datetime, over: Range) -> str:
    return at.astimezone(over.zone).isoformat()


def _when(point: Point, over: Range) -> str:
    start = point.start.astimezone(over.zone)
    if start.second or start.microsecond or (over.by != "hour" and (start.hour or start.minute)):
        return wording.instant(start)
    return moment(start, point.end.astimezone(over.zone), over.by)


def _numbers(words: Caption, one: Point, other: Point, over: Range) -> str:
    direction, change, share = wording.change(other.value, one.value, words.form, words.precision)
    parts = []
    for point in (one, other):
        value = words.with_unit(point.value)
        if not point.complete and not over.is_over(point.end):
            value = _("%(value)s (in progress)") % {"value": value}
        parts.append(f"{_when(point, over)}: {value}")
    if direction == "same":
        parts.append(_("there is no difference"))
    elif change:
        parts.append(f"{change} ({share})" if share else change)
    return " · ".join(parts)


def _lines(one: Any, other: Any) -> list[tuple[str, str]]:
    told = difflib.unified_diff(_spelled(one), _spelled(other), lineterm="", n=2)
    found: Sequence[str] = list(told)[2:]
    return [("…", "") if line.startswith("@@") else (line[0], line[1:]) for line in found]


def _spelled(value: Any) -> list[str]:
    if isinstance(value, str):
        return value.splitlines()
    return json.dumps(json.loads(encode_plain(value)), indent=1, ensure_ascii=False).splitlines()
