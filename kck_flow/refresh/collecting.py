"""Metrics are collected: each for itself, and the periods that were missed are filled in.

A metric's current period is a product like any other, computed and kept by ``cache.compute``. What is here is the rest:
the periods before it that have no number, or one that was measured while they lasted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from .. import clock, configured, hooks, spread
from .. import key as keys
from ..cache.compute import RAISED, call
from ..cache.facade import Cache
from ..cache.failures import describe
from ..errors import KckFlowError, StoreUnavailable, UnknownPrimer
from ..key import Key
from ..metric import Metric, Span
from ..registry import registry
from ..store import families, measures
from ..store.session import caller
from ..storing import encode
from . import plan

logger = logging.getLogger("kck_flow")

# After so many periods in a row that raised, a filling in is given up until the next one.
GIVE_UP_AFTER = 3
# So much of its past a metric is given when it begins by hand.
BEGIN_DAYS, BEGIN_PERIODS = 90, 400
TRIES = 5


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
        return [(key, primer) for primer in _families() for key in _domain(primer)]
    found: dict[Key, Metric] = {}
    for name in asked:
        found.update(_named(name))
    return list(found.items())


def _families() -> list[Metric]:
    return [primer for primer in registry.unique() if isinstance(primer, Metric)]


def _domain(primer: Metric) -> list[Key]:
    """Return a family's keys; of one whose domain raises, none but its name, by which it is told."""
    try:
        return plan.domain_of(primer)
    except Exception as error:
        logger.warning("metric.unfilled key=%s start=- error=%s", primer.name, describe(error))
        return [keys.general(primer.name)]


def _named(name: str) -> Iterator[tuple[Key, Metric]]:
    primer = registry.primers.get(name)
    if isinstance(primer, Metric) and primer.parameters:
        yield from ((key, primer) for key in plan.domain_of(primer))
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
            if family.parameters and not key.params:
                plan.domain_of(family)  # raises what it raised
            metric = family.of(key)
            span = metric.span(clock.now())
            if (held[family.name] or metric.is_paused) and not paused:
                yield Collected(key, "paused", None, span, metric.windows.text_of(span.start))
                continue
            entry = cache.refresh(key)
            filled = fill(key, metric)
        except Exception as error:
            yield Collected(key, "failed", error=describe(error))
            continue
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
        spans = [
            span
            for span in metric.spans(start, min(end or now, now))
            if start <= span.start and span.end <= now
        ]
    if not spans:
        return []
    held = measures.between(session, [key.digest], spans[0].start, spans[-1].end).get(key.digest, [])
    there = {(one.start, one.end) for one in held if one.complete}
    return [span for span in spans if (span.start, span.end) not in there]


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
    for span in reversed(
        spans
    ):  # the newest first: what can never be measured must not keep the rest from it
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


def unbegun(chosen: Iterable[Key]) -> list[tuple[Key, Metric]]:
    """Return those of some keys that are metrics without a record, and answer for the past."""
    found = []
    for key in chosen:
        family = registry.primers.get(key.key_base)
        if not isinstance(family, Metric) or measures.first(caller(spread.alias_of(family)), key) is not None:
            continue
        try:
            metric = family.of(key)
        except KckFlowError:
            continue  # its refresh says what is wrong
        if metric.answers_for_the_past:
            found.append((key, metric))
    return found


def begin(key: Key, metric: Metric) -> Filled:
    """Measure the last ``BEGIN_DAYS`` days of a metric that has just begun, so that its first chart has a past; of
    short periods, the last ``BEGIN_PERIODS``.
    """
    spans = missing(key, metric, clock.now() - timedelta(days=BEGIN_DAYS))[-BEGIN_PERIODS:]
    return fill(key, metric, spans[0].start) if spans else Filled()


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
    alias = spread.alias_of(metric)
    session = caller(alias)
    # In somebody's transaction, what fails here must not end that.
    with transaction.atomic(using=alias) if session.connection.in_atomic_block else nullcontext():
        value, _ = call(metric, key, at=span.start, inline=True)
    text, _ = encode(key, metric, metric.codec, value)
    for _attempt in range(TRIES):
        with session.transaction():
            number = measures.append(
                session,
                key,
                span.start,
                span.end,
                text,
                version=0,
                primer_version=metric.version,
                complete=True,
            )
            if number is not None:
                hooks.run(metric, "post_record", key, session=session, record=number)
                return number
        held = measures.between(session, [key.digest], span.start, span.end).get(key.digest, [])
        if any(one.complete and one.end == span.end and _value(metric, one.text) == value for one in held):
            return None  # it is as it was
        # Somebody took this revision meanwhile, with another number: ours is the next.
    raise StoreUnavailable(f"{str(key)!r}: its number of {span.start.isoformat()} could not be stored.")


def _value(metric: Metric, text: str | None) -> Any:
    return metric.codec.decode(text) if text is not None else None
