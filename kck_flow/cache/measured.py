"""A read of a metric's past: its records, a point for each period, or for several together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from .. import clock, spread
from ..codec import JSON
from ..entry import Point
from ..errors import NotPrimed
from ..key import Key
from ..memo import Memo, Same
from ..metric import Metric, Span, rolled
from ..registry import registry
from ..store import measures
from ..store.measures import Measure
from ..store.session import caller
from ..windows import UNITS, Window, quarter


class _Step(NamedTuple):
    start: datetime
    end: datetime
    over: bool


# What a metric was over a range is read again only where something was recorded of it since.
_known: Memo[tuple[str, tuple[Point, ...]]] = Memo(1024)
_known_steps: Memo[tuple[_Step, ...]] = Memo(64)


def metric_of(key: Key) -> Metric | None:
    """Return what a key is measured by; None where it is no metric's.

    Raises:
        NotPrimed: it is to be a metric that is stored as a row, and there is none.
    """
    primer = registry.primers.get(key.key_base)
    return primer.of(key) if isinstance(primer, Metric) else None


def series(
    key: Key, metric: Metric, start: datetime, end: datetime, by: str | timedelta | None
) -> list[Point]:
    """Return what a metric was over ``[start, end)``; see ``Cache.series``."""
    return list(series_many([(key, metric)], start, end, by)[key])


def series_many(
    asked: Sequence[tuple[Key, Metric]], start: datetime, end: datetime, by: str | timedelta | None = None
) -> dict[Key, Sequence[Point]]:
    """Return what several metrics were over ``[start, end)``, in one statement for each database; see ``Cache.series``.
    Of the same records, the same object.

    Raises:
        ValueError: steps of ``by`` begin within periods of one of them.
    """
    found: dict[Key, Sequence[Point]] = {}
    now = clock.now()
    steps = {key: _step(key, metric, by) for key, metric in asked}
    for alias in dict.fromkeys(spread.alias_of(metric) for _, metric in asked):
        own = [(key, metric) for key, metric in asked if spread.alias_of(metric) == alias]
        told = {step: _steps_now(step, start, end, now) for step in {steps[key] for key, _ in own}}
        bounds = [(those[0].start, those[-1].end) for those in told.values() if those]
        if not bounds:  # a range of the future
            found.update((key, ()) for key, _ in own)
            continue
        first, last = min(one[0] for one in bounds), max(one[1] for one in bounds)
        names = {key: (alias, key.digest, steps[key], first, last) for key, _ in own}
        known: dict[Key, tuple[str, tuple[Point, ...]]] = {}
        for key, metric in own:
            held = _known.find(names[key], (Same(metric), Same(told[steps[key]])))
            if held is not None:
                known[key] = held
        asked_for = [(key.digest, known[key][0] if key in known else None) for key, _ in own]
        recorded = measures.since(caller(alias), asked_for, first, last)
        for key, metric in own:
            signature, measured = recorded[key.digest]
            if key in known and known[key][0] == signature:
                found[key] = known[key][1]
                continue
            points = tuple(_points(metric, steps[key], told[steps[key]], measured, now))
            made_of = Same(metric), Same(told[steps[key]])
            found[key] = _known.keep(names[key], made_of, (signature, points))[1]
    return found


def _points(
    metric: Metric, step: Window, steps: Sequence[_Step], held: Sequence[Measure], now: datetime
) -> list[Point]:
    return (_alone if step == metric.windows else _together)(metric, steps, held, now)


def value_at(key: Key, metric: Metric, at: datetime) -> object:
    """Return what a metric was in the period that an instant is in. Raises NotPrimed: nothing was recorded of it."""
    span = metric.span(at)
    alias = spread.alias_of(metric)
    found = measures.between(caller(alias), [key.digest], span.start, span.end).get(key.digest, [])
    held = [one for one in found if (one.start, one.end) == (span.start, span.end)]
    if not held:
        raise NotPrimed(
            f"Nothing of {str(key)!r} was recorded of the {metric.period} that begins at {span.start.isoformat()}. "
            f"{_remedy(key, metric)}"
        )
    return metric.codec.decode(held[-1].text) if held[-1].text is not None else None


def _remedy(key: Key, metric: Metric) -> str:
    if metric.answers_for_the_past:
        return f"Fill it in: manage.py kck backfill {key} --missing"
    return "It measures what is now, and cannot be asked for the past."


def fits(metric: Metric, by: str) -> bool:
    """Whether a metric's periods make steps of this length."""
    if by not in UNITS or UNITS.index(by) < UNITS.index(metric.period):
        return False
    return not (by == "month" and metric.period == "week")


def _step(key: Key, metric: Metric, by: str | timedelta | None) -> Window:
    if by is None or by == metric.period:
        return metric.windows
    if (
        by == "year"
        or isinstance(by, timedelta)
        or by not in UNITS
        or UNITS.index(by) < UNITS.index(metric.period)
    ):
        allowed = ", ".join(repr(unit) for unit in UNITS[UNITS.index(metric.period) :])
        raise ValueError(
            f"{str(key)!r} is a number per {metric.period}: by must be one of {allowed}, not {by!r}."
        )
    if by == "month" and metric.period == "week":
        raise ValueError(f"{str(key)!r} is a number per week, and months begin within weeks.")
    return Window(by, metric.tz)


def _end(step: Window, end: datetime) -> datetime:
    """Return the end of the last step that begins before ``end``: steps are told whole."""
    return step.after(step.start_of(end - timedelta(microseconds=1)))


def _steps(step: Window, start: datetime, end: datetime, now: datetime) -> Iterator[_Step]:
    at = step.start_of(start)
    while at < end:
        after = step.after(at)
        yield _Step(at, after, after <= now)
        at = after


def _steps_now(step: Window, start: datetime, end: datetime, now: datetime) -> tuple[_Step, ...]:
    """Return the steps of a range; for as long as none of them ends, the same object."""
    name = step, step.start_of(start), _end(step, end)
    return _known_steps.get(name, (quarter(now),), lambda: tuple(_steps(step, start, end, now)))


def _alone(metric: Metric, steps: Sequence[_Step], held: Sequence[Measure], now: datetime) -> list[Point]:
    """Return a point for each period. What is held is in the order of its beginnings, as the steps are."""
    decode, version, plain = metric.codec.decode, metric.version, metric.codec is JSON
    points: list[Point] = []
    answers = metric.answers_for_the_past if held else False
    numbers: dict[str, Any] = {}  # a number is often the same again, and cannot be changed
    place, number_of = 0, len(held)
    for start, end, over in steps:
        while place < number_of and held[place].start < start:
            place += 1
        one, at = None, place
        while (
            at < number_of and held[at].start == start
        ):  # a Monday may be a day, and the beginning of a week
            if held[at].end == end:
                one = held[at]
            at += 1
        if one is None:
            points.append(Point(start, end, None, over, version))
            continue
        text, value = one.text, None
        if text is not None:
            value = numbers.get(text)
            if value is None:
                value = numbers[text] = int(text) if plain and text.isdigit() else decode(text)
        points.append(Point(start, end, value, over and (one.complete or not answers), one.primer_version))
    return points


def _together(metric: Metric, steps: Sequence[_Step], held: Sequence[Measure], now: datetime) -> list[Point]:
    """Return a point for each step, of the periods that begin in it."""
    by_span = {(one.start, one.end): one for one in held}
    decode, how, points = metric.codec.decode, metric.rolled_up, []
    for start, end, _over in steps:
        spans = list(metric.spans(start, end))
        there = [by_span.get((span.start, span.end)) for span in spans]
        values = [decode(one.text) if one is not None and one.text is not None else None for one in there]
        complete = all(_is_over(metric, span, one, now) for span, one in zip(spans, there, strict=True))
        versions = [one.primer_version for one in there if one is not None]
        version = versions[-1] if versions else metric.version
        points.append(Point(start, end, rolled(values, how), complete, version))
    return points


def _is_over(metric: Metric, span: Span, one: Measure | None, now: datetime) -> bool:
    """Whether nothing more can come to a period: it is over, and what can be measured then has been."""
    if span.end > now:
        return False
    return one is None or one.complete or not metric.answers_for_the_past
