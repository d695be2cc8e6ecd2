"""Many products are read for a page: their values, states and series, in a handful of statements, computing none.

Every number on a page comes from an entry or a record. What is stale or was never computed is wanted, and shown as what
it is meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any, NamedTuple

from django.utils.translation import gettext as _

from .. import clock, spread
from ..cache import behind, counted, flows, framed, history, measured, past, processes
from ..cache import topics as told_topics
from ..cache.context import OPEN, context_of
from ..cache.facade import Cache
from ..cache.listed import servable, state_of
from ..decorators import Action
from ..entry import Entry, Point
from ..errors import KckFlowError
from ..key import Key
from ..memo import Memo, Same
from ..metric import Metric, rolled
from ..process import Process
from ..registry import registry
from ..stock import Flow, Stock
from ..store import listings
from ..store.events import Stay
from ..store.listings import Listed
from ..store.refreshes import instant
from ..store.session import caller
from ..timeframe import TimeFrame
from ..topic import Topic
from ..windowed import Windowed
from .captions import Caption, captions
from .ranges import MOST_STEPS, Range

logger = logging.getLogger("kck_flow")

_LONGEST = {
    "hour": timedelta(hours=1),
    "day": timedelta(hours=25),
    "week": timedelta(days=7, hours=1),
    "month": timedelta(days=31, hours=1),
}


@dataclass(slots=True)
class Shown:
    """A product as a page shows it. Instants are aware.

    Attributes:
        state: ``fresh, stale, computing, failed`` or ``empty``.
        value: What is stored, where it is short enough to come along; None where there is none.
        number: The number that it is or has; None where it has none.
        version, computed_at, soft_expires_at, hard_expires_at: As of its entry.
        due_at: When it is to be refreshed, or None.
        error: What was last raised, in a line, where it fails.
        attempts: How often in a row.
        bytes: How much is stored.
        missing: Why there is nothing to show, in words; empty where there is.
    """

    key: Key
    caption: Caption
    state: str
    value: Any = None
    number: Any = None
    version: int = 0
    computed_at: datetime | None = None
    soft_expires_at: datetime | None = None
    hard_expires_at: datetime | None = None
    due_at: datetime | None = None
    error: str = ""
    attempts: int = 0
    bytes: int | None = None
    missing: str = ""
    now: datetime = field(default_factory=clock.now)

    @property
    def age(self) -> float | None:
        """How long ago it was computed, in seconds."""
        return (
            max((self.now - self.computed_at).total_seconds(), 0.0) if self.computed_at is not None else None
        )

    @property
    def due_in(self) -> float | None:
        """In how many seconds it is to be refreshed."""
        return (self.due_at - self.now).total_seconds() if self.due_at is not None else None

    @property
    def has_value(self) -> bool:
        return self.state != "empty" and self.computed_at is not None


class Trend(NamedTuple):
    """A product over a range: its points, and the one number of the range, beside that of the older one.

    Attributes:
        points: Those of the range, oldest first.
        older: Those of the range that it is compared with.
        number, before: How the points of each make one (``Caption.rollup``); None where nothing was recorded.
        problem: Why there is no series, in words; empty where there is.
    """

    points: Sequence[Point] = ()
    older: Sequence[Point] = ()
    number: Any = None
    before: Any = None
    problem: str = ""


def read(
    keys: Sequence[Key], words: Mapping[Key, Caption] | None = None, *, want: bool = True
) -> dict[Key, Shown]:
    """Return products as they are now: one statement for all that are stored, one for all stocks, one for frames.

    Args:
        want: Whether what is stale or missing is wanted because of this.
    """
    words = words if words is not None else captions(keys)
    found: dict[Key, Shown] = {}
    stocks: list[tuple[Key, Any, Any, str]] = []
    windows: list[tuple[Key, TimeFrame]] = []
    live: list[Key] = []
    stored: list[Key] = []
    for key in keys:
        primer = registry.primers.get(key.key_base)
        of_stock = counted.counted(key)
        if of_stock is not None:
            stocks.append((key, *of_stock))
        elif isinstance(primer, TimeFrame):
            if key.params.get("window") is not None:
                windows.append((key, primer))
            else:
                found[key] = Shown(key, words[key], "fresh")
        elif isinstance(primer, Process) or flows.counted(key) is not None:
            live.append(key)
        else:
            stored.append(key)
    for (key, *_rest), told in zip(stocks, counted.entries(stocks) if stocks else (), strict=True):
        found[key] = _of_entry(words[key], told)
    for (key, _primer), told in zip(windows, framed.entries(windows) if windows else (), strict=True):
        found[key] = _of_entry(words[key], told)
    for key in live:
        found[key] = Shown(
            key, words[key], "fresh", computed_at=clock.now()
        )  # its numbers are those of a range
    found.update(_stored(stored, words, want))
    return {key: found[key] for key in keys}


def _of_entry(words: Caption, told: Entry | Exception) -> Shown:
    if isinstance(told, Exception):
        return Shown(words.key, words, "empty", missing=str(told), error=str(told))
    return Shown(
        words.key,
        words,
        told.state,
        told.value,
        number_of(told.value),
        told.version,
        told.computed_at,
        told.soft_expires_at,
        told.hard_expires_at,
    )


def _stored(keys: Sequence[Key], words: Mapping[Key, Caption], want: bool) -> dict[Key, Shown]:
    found: dict[Key, Shown] = {}
    for alias in dict.fromkeys(spread.alias_of(registry.primers.get(key.key_base)) for key in keys):
        own = [key for key in keys if spread.alias_of(registry.primers.get(key.key_base)) == alias]
        listed = listings.some(caller(alias), [key.digest for key in own])
        for key in own:
            row = listed.get(str(key))
            found[key] = _listed(words[key], row)
            if want and (row is None or not servable(row) or found[key].state == "stale"):
                _want(words[key], key, alias, row)
    return found


def _listed(words: Caption, row: Listed | None) -> Shown:
    primer = registry.primers.get(words.key.key_base)
    now = clock.now()
    if row is None:
        return Shown(words.key, words, "empty", missing="never computed", now=now)
    shown = Shown(
        words.key,
        words,
        state_of(row),
        version=row.version,
        soft_expires_at=instant(row.soft_expires_at),
        hard_expires_at=instant(row.hard_expires_at),
        due_at=instant(row.due_at),
        error=row.last_error.partition("\n")[0] if row.attempts else "",
        attempts=row.attempts,
        bytes=row.bytes,
        now=now,
    )
    if not servable(row):
        shown.missing = (
            "never computed" if row.computed_at is None else "what is stored may not be served any more"
        )
        return shown
    shown.computed_at = instant(row.computed_at)
    if row.value is not None:
        codec = primer.codec if primer is not None else None
        try:
            shown.value = codec.decode(row.value) if codec is not None else _general(row.value)
            shown.number = number_of(shown.value)
        except Exception as error:  # a codec whose secret is another's: the page shows the others
            logger.warning("page.unreadable key=%s error=%r", words.key, error)
            shown.missing = f"it cannot be read: {error}"
    return shown


def _general(text: str) -> Any:
    from ..codec import JSON

    return JSON.decode(text)


def _want(words: Caption, key: Key, alias: str, row: Listed | None) -> None:
    """Have a product computed that is stale, or was never: once, by a worker, or where none lives, by a thread."""
    primer = registry.primers.get(key.key_base)
    if primer is None or isinstance(primer, (Action, Topic)) or not primer.prime_on_cache_miss:
        return
    if isinstance(primer, Metric) and isinstance(words.primer, Metric) and words.primer.is_paused:
        return  # it is collected when somebody says so
    if row is not None and (row.running or row.attempts):
        return  # it is on its way, or waits for its back-off
    if context_of(alias) == OPEN:
        behind.want(primer, key, alias, row.version if row else 0, row.computed_at if row else None)
    else:
        behind.request_in_test(primer, key, alias)


def number_of(value: Any) -> Any:
    """Return the number that a product is, or has as its ``value`` (a stock, a flow); None where it has none."""
    if value is None or type(value) is int:
        return value
    if isinstance(value, Mapping):
        value = value.get("value")
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return None
    if isinstance(value, int) or isfinite(value):
        return value
    return None


# -- over time


def trends(
    keys: Sequence[Key],
    over: Range,
    words: Mapping[Key, Caption] | None = None,
    current: Mapping[Key, Shown] | None = None,
) -> dict[Key, Trend]:
    """Return products over a range, beside the older one: one statement for all metrics, one for all flows, one for the
    records of all stocks, one for what is told of those without.

    Args:
        current: The products as they are now: of a stock, the step that lasts has what it holds, and not what was
            recorded as that began.
    """
    words = words if words is not None else captions(keys)
    points: dict[Key, Sequence[Point] | Exception] = {}
    ofmetrics: list[tuple[Key, Metric]] = []
    offlows: list[tuple[Key, Flow]] = []
    ofstocks: list[tuple[Key, Stock]] = []
    for key in keys:
        primer = registry.primers.get(key.key_base)
        own = words[key].primer
        if isinstance(primer, Metric) and isinstance(own, Metric):
            ofmetrics.append((key, own))
        elif isinstance(primer, Flow):
            offlows.append((key, primer))
        elif isinstance(primer, Stock):
            ofstocks.append((key, primer))
        else:
            points[key] = _one(key, over)
    if ofmetrics:
        points.update(_metrics(ofmetrics, over))
    if offlows:
        points.update(flows.series_many(offlows, over.first, over.until, over.by))
    if ofstocks:
        steps = steps_of(over)
        points.update(past.series_many(ofstocks, over.first, over.until, steps))
    return {key: _trend(words[key], points[key], over, (current or {}).get(key)) for key in keys}


def _metrics(asked: list[tuple[Key, Metric]], over: Range) -> dict[Key, Sequence[Point] | Exception]:
    """Return the points of metrics; those whose periods are longer than the steps, in their own."""
    found: dict[Key, Sequence[Point] | Exception] = {}
    groups: dict[str | None, list[tuple[Key, Metric]]] = {}
    for key, metric in asked:
        fits = measured.fits(metric, over.by)
        groups.setdefault(over.by if fits else None, []).append((key, metric))
    for by, own in groups.items():
        try:
            found.update(measured.series_many(own, over.first, over.until, by))
        except (ValueError, KckFlowError) as error:
            found.update((key, error) for key, _ in own)
    return found


def steps_of(over: Range) -> list[tuple[datetime, datetime]]:
    """Return the steps of a range and of the older one, (beginning, end) each."""
    window, at, found = over.window, over.first, []
    while at < over.until:
        after = window.after(at)
        found.append((at, after))
        at = after
    return found


def _one(key: Key, over: Range) -> Sequence[Point] | Exception:
    primer = registry.primers.get(key.key_base)
    try:
        if primer is None or isinstance(primer, Process):
            return []
        if isinstance(primer, TimeFrame):
            return Cache.get_instance().series(key, over.first, over.until, _size(primer, key, over))
        if isinstance(primer, Topic):
            if not primer.sizes:
                return []
            return told_topics.series(key, primer, over.first, over.until, _size(primer, key, over))
        if not primer.keep_history:
            return []
        found = history.series(key, over.first, over.until, by=over.by)
        return [Point(one.start, one.end, number_of(one.value), one.complete) for one in found]
    except (ValueError, KckFlowError) as error:
        return error


def _size(primer: Windowed, key: Key, over: Range) -> str | None:
    """Return which of its windows' sizes shows a product over a range: the longest that is no longer than a step.

    Raises:
        ValueError: even those are too many.
    """
    lengths = {}
    for name, window in primer.sizes.items():
        begins = window.start_of(over.start)
        lengths[name] = window.after(begins) - begins
    named = key.params.get("size")
    fit = [name for name, length in lengths.items() if length <= _LONGEST[over.by]]
    size = named if named in lengths else max(fit or lengths, key=lambda name: lengths[name])
    if (over.until - over.first) / lengths[size] > MOST_STEPS:
        raise ValueError(_("Its windows are too many to be shown over this range: ask for a shorter one."))
    return size or None


# Of the same points, the same trend: of metrics, whose points are the same as long as their records are.
_known: Memo[Trend] = Memo(1024)


def _trend(words: Caption, found: Sequence[Point] | Exception, over: Range, shown: Shown | None) -> Trend:
    if not isinstance(found, tuple):
        return trend_of(words, found, over, shown)
    made_of = Same(words), Same(found), over.signature
    return _known.get((words.key, over.start, over.end), made_of, lambda: trend_of(words, found, over, shown))


def trend_of(
    words: Caption, found: Sequence[Point] | Exception, over: Range, shown: Shown | None = None
) -> Trend:
    """Return the trend that points make, those of a range and of the older one; or why there are none."""
    if isinstance(found, Exception):
        return Trend(problem=str(found))
    numbers = [
        one
        if (number := number_of(one.value)) is one.value
        else Point(one.start, one.end, number, one.complete, one.generation)
        for one in found
    ]
    # Of what is added up in periods longer than the steps, those that begin in the range: each counts in one only.
    whole = words.rollup == "last" or all(one.end - one.start <= _LONGEST[over.by] for one in numbers)
    points = [
        one
        for one in numbers
        if (one.end > over.start if whole else one.start >= over.start)
        and not (over.complete and not one.complete)
    ]
    before = over.before()
    older = [one for one in numbers if before is not None and one.end > before[0] and one.start < before[1]]
    told = points
    if over.end > over.now:
        told = [lasting(one, shown) if is_in_progress(one, over.now) else one for one in points]
    number = rolled([one.value for one in told], words.rollup)
    if all(one.value is None for one in older):  # nothing to be drawn beside it, nor told of it
        return Trend(told, (), number)
    return Trend(told, older, number, _older(words, points, older, over))


def is_in_progress(point: Point, now: datetime) -> bool:
    """Whether a step of a series is the one that now is in."""
    return not point.complete and point.start <= now < point.end


def lasting(point: Point, shown: Shown | None) -> Point:
    """Return the step that lasts as its product is now: of a stock, its value, which is what the page says above it."""
    if shown is None or shown.number is None or not isinstance(shown.caption.primer, Stock):
        return point
    found = counted.captured(shown.caption.primer)
    generation = found[1].generation if found is not None else point.generation
    return replace(point, value=shown.number, generation=generation)


def _older(words: Caption, points: Sequence[Point], older: Sequence[Point], over: Range) -> Any:
    """Return the number of the older range, as far as this one has got.

    Of what is added up, the last step is in progress here and over there: neither counts its part of it twice, so the
    step that is not over is left out there too, unless it began and ended as far into it.
    """
    if words.kind == "stock" and over.compare == "previous" and points and points[0].value is not None:
        return points[0].value  # a stock's step has what it held as that began: here, when the range did
    if words.rollup == "last":
        return next((one.value for one in reversed(older) if one.value is not None), None)
    over_there = [one for one in older if one.end <= (over.before() or (one.end, one.end))[1]]
    return rolled([one.value for one in over_there], words.rollup)


def comparable(words: Caption, trend: Trend, over: Range) -> Any:
    """Return the number of the range that ``Trend.before`` is compared with: of what is added up, without the step that
    is not over.
    """
    if words.rollup == "last":
        return trend.number
    return rolled([one.value for one in trend.points if over.is_over(one.end)], words.rollup)


def picture(key: Key, process: Process, over: Range, facet: str | None = None) -> dict[str, Any]:
    """Return a process over a range; see ``Cache.picture``. Its range ends with the step that now is in."""
    end = over.end if over.end <= over.now else None
    return processes.picture(key, process, over.start, end, by=over.by, facet=facet)


def books(key: Key, process: Process) -> dict[str, Any]:
    """Return a process since its books were opened; see ``Cache.picture``."""
    return processes.picture(key, process)


def stays(key: Key, process: Process, over: Range) -> dict[str, Stay]:
    """Return how long rows were in the stocks of a process that they left within a range, by stock; empty where their
    transitions are not kept.
    """
    return processes.stays(key, process, over.start, over.until)
