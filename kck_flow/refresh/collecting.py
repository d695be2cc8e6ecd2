"""Metrics are collected: each for itself, and the periods that were missed are filled in.

A metric's current period is a product like any other, computed and kept by ``cache.compute``. What is here is the rest:
the periods before it that have no number, or one that was measured while they lasted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .. import clock, configured, hooks, spread
from ..cache.compute import RAISED, call
from ..cache.facade import Cache
from ..cache.failures import describe
from ..errors import KckFlowError, UnknownPrimer
from ..key import Key
from ..metric import Metric, Span
from ..registry import registry
from ..store import families, measures
from ..store.session import caller
from ..storing import encode

logger = logging.getLogger("kck_flow")

# After so many periods in a row that raised, a filling in is given up until the next one.
GIVE_UP_AFTER = 3


@dataclass(frozen=True, slots=True)
class Collected:
    """What came of one metric.

    Attributes:
        outcome: ``collected``, ``failed`` or ``paused``.
        value: The number of the current period; None also where it failed.
        span, period: The current period, and how it is spelled, ``2026-01-31``; None and empty of one that failed.
        filled: How many earlier periods were given a number.
        error: What was raised, in a line.
    """

    key: Key
    outcome: str
    value: Any = None
    span: Span | None = None
    period: str = ""
    filled: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Filled:
    """What came of filling in one metric: how many periods were missing, got a number, and raised."""

    missing: int = 0
    filled: int = 0
    failed: int = 0
    error: str = ""


def metrics(names: Iterable[str] = ()) -> list[tuple[Key, Metric]]:
    """Return the metrics that some names mean, or all: key bases, keys, slugs of those that are stored as rows.

    Raises:
        UnknownPrimer, InvalidKey: there is none of that name.
    """
    asked = list(names)
    configured.seen()
    if not asked:
        return [(key, primer) for primer in _families() for key in primer.domain_keys()]
    found: dict[Key, Metric] = {}
    for name in asked:
        found.update(_named(name))
    return list(found.items())


def _families() -> list[Metric]:
    return [primer for primer in registry.unique() if isinstance(primer, Metric)]


def _named(name: str) -> Iterator[tuple[Key, Metric]]:
    primer = registry.primers.get(name)
    if isinstance(primer, Metric) and primer.parameters:
        yield from ((key, primer) for key in primer.domain_keys())
        return
    for family in _families():
        key = family.key_called(name)
        if key is not None:
            yield key, family
            return
    key = registry.key(name)
    primer = registry.primer(key.key_base)
    if not isinstance(primer, Metric):
        raise UnknownPrimer(
            f"{name!r} is no metric. Metrics: {', '.join(one.name for one in _families()) or 'none'}."
        )
    yield key, primer


def collect(names: Iterable[str] = (), *, paused: bool = False) -> Iterator[Collected]:
    """Measure metrics now, one after the other; what one raises keeps no other from it.

    Args:
        names: As of ``metrics``; all where not given.
        paused: Also those that are paused.

    Yields:
        What came of each, as soon as it is known.
    """
    cache = Cache.get_instance()
    held: dict[str, bool] = {}
    for key, family in metrics(names):
        alias = spread.alias_of(family)
        if family.name not in held:
            held[family.name] = family.name in families.paused(caller(alias))
        try:
            metric = family.of(key)
            if (held[family.name] or metric.is_paused) and not paused:
                span = metric.span(clock.now())
                yield Collected(key, "paused", None, span, metric.windows.text_of(span.start))
                continue
            entry = cache.refresh(key)
            filled = fill(key, metric)
        except KckFlowError as error:
            yield Collected(key, "failed", error=describe(error))
            continue
        span = metric.span(entry.computed_at or clock.now())
        period = metric.windows.text_of(span.start)
        yield Collected(key, "collected", entry.value, span, period, filled.filled, filled.error)


def missing(
    key: Key, metric: Metric, start: datetime | None = None, end: datetime | None = None
) -> list[Span]:
    """Return the periods of a metric that are over and have no number that was measured then, oldest first.

    Args:
        start, end: Aware; those that begin in between. Without ``start``, since its first record (its last ``fills``
            periods at most); without ``end``, until now.
    """
    now = clock.now()
    session = caller(spread.alias_of(metric))
    if start is None:
        start = measures.first(session, key)
        if start is None:
            return []
        spans = (
            [span for span in metric.spans(start, now) if span.end <= now][-metric.fills :]
            if metric.fills
            else []
        )
    else:
        spans = [span for span in metric.spans(start, min(end or now, now)) if span.end <= now]
    if not spans:
        return []
    held = measures.between(session, [key.digest], spans[0].start, spans[-1].end).get(key.digest, [])
    there = {one.start for one in held if one.complete}
    return [span for span in spans if span.start not in there]


def fill(
    key: Key,
    metric: Metric,
    start: datetime | None = None,
    end: datetime | None = None,
    *,
    again: bool = False,
) -> Filled:
    """Measure the missing periods of a metric that answers for the past; of one that does not, none is.

    Args:
        start, end: As of ``missing``.
        again: Measure also those that have a number; another one is the next revision.
    """
    if not metric.answers_for_the_past:
        return Filled()
    now = clock.now()
    if again and start is not None:
        spans = [span for span in metric.spans(start, min(end or now, now)) if span.end <= now]
    else:
        spans = missing(key, metric, start, end)
    filled = failed = in_a_row = 0
    error = ""
    for span in spans:
        try:
            measure(key, metric, span)
            filled, in_a_row = filled + 1, 0
        except RAISED as raised:
            failed, in_a_row, error = failed + 1, in_a_row + 1, describe(raised)
            logger.warning("metric.unfilled key=%s start=%s error=%s", key, span.start.isoformat(), error)
            if in_a_row == GIVE_UP_AFTER:
                break
    if filled:
        logger.info("metric.filled key=%s periods=%d failed=%d", key, filled, failed)
    return Filled(len(spans), filled, failed, error)


def fill_quietly(key: Key, family: Metric) -> None:
    """Fill in a metric that a worker has just collected: what goes wrong is told, and tried again with the next one."""
    try:
        fill(key, family.of(key))
    except Exception as error:
        logger.warning("metric.unfilled key=%s start=- error=%s", key, describe(error))


def measure(key: Key, metric: Metric, span: Span) -> int | None:
    """Measure one period that is over, and keep its number; returns its record, or None where it is as it was.

    Whatever ``compute`` raises, rises; UnstorableValue: what it returned is no number.
    """
    value, _ = call(metric, key, at=span.start, inline=True)
    text, _ = encode(key, metric, metric.codec, value)
    session = caller(spread.alias_of(metric))
    with session.transaction():
        number = measures.append(
            session, key, span.start, span.end, text, version=0, primer_version=metric.version, complete=True
        )
        if number is not None:
            hooks.run(metric, "post_record", key, session=session, record=number)
    return number
