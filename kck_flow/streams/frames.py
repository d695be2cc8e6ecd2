"""What people and programs ask of time frames: told of late items, computed again, skipped, filled in for the past; how
far behind they are, and what they took.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from .. import key as keys
from .. import spread, waking
from ..cache import framed, horizon
from ..errors import InvalidKey, KckFlowError, UnknownPrimer
from ..key import Key
from ..registry import registry
from ..store import frames, refreshes
from ..store.session import Session, caller
from ..timeframe import TimeFrame
from ..windows import HOUR, Window
from . import planner

STATES = ("planned", "closed", "skipped", "failed")


def family(name: str) -> TimeFrame:
    """Return a time frame by its key base.

    Raises:
        UnknownPrimer: there is no primer of that name.
        InvalidKey: it is no time frame.
    """
    primer = registry.primer(name)
    if not isinstance(primer, TimeFrame):
        named = ", ".join(one.name for one in planner.families_of()) or "none"
        raise InvalidKey(f"{name!r} is no time frame. Declared are: {named}.")
    return primer


def plan(name: str) -> planner.Found:
    """Plan what is missing of a family now, holes and records that were deleted included."""
    primer = family(name)
    alias = spread.alias_of(primer)
    return planner.plan(primer, alias, lambda: framed.slots(alias))


def wake(name: str) -> None:
    """Have the workers plan a family soon: something has come to its stream. In a transaction, with its commit."""
    framed.wake(family(name))


# -- what came late


def tell(
    name: str, start: datetime, end: datetime, *, late: int = 1, params: Mapping[str, Any] | None = None
) -> list[str]:
    """Tell a family that items came to ``[start, end)``, or changed there, after it was read; returns the keys of the
    frames that this touches.

    A frame with ``late = "revise"`` is computed again; one with ``"count"`` counts them. What is not closed needs no
    telling, and may be told. In a transaction, of the database of the stream or of the frames, it holds with the
    commit: whoever computes them then sees what was written.

    Args:
        late: How many items there were.
        params: Of which product; of all where not given.
    """
    primer = family(name)
    counted = primer.late == "count"
    states = [frames.CLOSED] if counted else [frames.PLANNED, frames.CLOSED]
    return framed.tell(primer, _told(primer, start, end, late, params, "late", states, counted=counted))


def recompute(
    name: str, start: datetime, end: datetime, *, params: Mapping[str, Any] | None = None
) -> list[str]:
    """Have the closed frames that ``[start, end)`` touches computed again by the workers; returns their keys. One whose
    value is the same stays the revision that it is. In a transaction it holds with the commit, as ``tell`` does.
    """
    primer = family(name)
    return framed.tell(primer, _told(primer, start, end, 0, params, "again", [frames.CLOSED]))


def _told(
    primer: TimeFrame,
    start: datetime,
    end: datetime,
    late: int,
    params: Mapping[str, Any] | None,
    reason: str,
    states: Sequence[str],
    *,
    counted: bool = False,
) -> frames.Told:
    return frames.Told(
        primer.name, start, end, primer.longest(), _computed(primer) or list(primer.sizes), _args(primer, params),
        states, late, primer.priority, reason, counted,
    )  # fmt: skip


def _computed(primer: TimeFrame) -> list[str]:
    """Return the sizes that are computed from the items; what is merged from them follows."""
    return [size for size in primer.sizes if horizon.finer_of(primer, size) is None]


def _args(primer: TimeFrame, params: Mapping[str, Any] | None) -> dict[str, Any]:
    if not params:
        return {}
    own = keys.build(primer.name, primer.own_parameters, params).params
    return {one.name: one.to_json(own[one.name]) for one in primer.own_parameters}


# -- given up


def skip(text: str, reason: str) -> bool:
    """Give a frame up: what waits for it goes on, and its data may be deleted; returns whether it was not closed.

    A closed frame that was to be computed again keeps its value.
    """
    key, primer = _frame(text)
    with framed.slots(spread.alias_of(primer)) as session:
        one = framed.planned(primer, key)
        gone = frames.skip(
            session,
            primer.name,
            [one],
            primer_version=primer.version,
            reason=reason,
            model=primer.record_model,
        )
        for other in {primer.name, *(other.name for other, _ in horizon.coarser_of(primer, _size(key)))}:
            frames.wake(session, other)
        waking.soon(session)
    return bool(gone)


def unskip(text: str) -> bool:
    """Have a frame computed after all that was skipped; returns whether it was."""
    key, primer = _frame(text)
    with framed.slots(spread.alias_of(primer)) as session:
        asked = frames.unskip(session, [key.digest], lane=primer.priority)
        waking.soon(session)
    return bool(asked)


def _frame(text: str) -> tuple[Key, TimeFrame]:
    key = registry.key(text)
    primer = registry.primers.get(key.key_base)
    if primer is None:
        raise UnknownPrimer(registry.unknown(key.key_base))
    if not isinstance(primer, TimeFrame):
        raise InvalidKey(f"{text!r} is no key of a time frame.")
    return key, primer


def _size(key: Key) -> str:
    return str(key.params.get("size", ""))


# -- the past


@dataclass(frozen=True, slots=True)
class Filled:
    """What came of one frame of a backfill: ``done, unchanged, there, skipped, failed``."""

    key: Key
    outcome: str
    error: BaseException | None = None


def windows(name: str, start: datetime, end: datetime) -> list[Key]:
    """Return the keys of the frames that begin in ``[start, end)`` and end by ``end``, the finest sizes first, each
    from the oldest on.
    """
    primer = family(name)
    found = []
    products = planner.products_of(primer)
    for size, window in primer.sizes.items():
        first = window.start_of(start)
        first = first if first >= start else window.after(first)
        for params in products:
            found += [primer.key_at(params, size, begins) for begins, _ in primer.walk(size, first, end)]
    return found


def backfill(
    name: str,
    start: datetime,
    end: datetime,
    *,
    again: bool = False,
    before: datetime | None = None,
    rate: float | None = None,
) -> Iterator[Filled]:
    """Compute the frames of a range here, those older than the epoch, too, one after the other; yields each.

    What is closed is left as it is, so that it goes on where it was interrupted. Whoever else computes a frame is
    waited for. Windows that are not complete yet are left out.

    Args:
        again: Whether also those are computed that are closed; one whose value is the same stays as it is.
        before: With ``again``, only those that were closed before.
        rate: How many frames a second, at most; as many as it can where not given.
    """
    primer = family(name)
    alias = spread.alias_of(primer)
    began, done = time.monotonic(), 0
    dues: dict[tuple[Any, ...], datetime | None] = {}
    for key in windows(name, start, end):
        params = horizon.own_params(primer, key)
        of = tuple(params.values())
        if of not in dues:
            dues[of] = horizon.look(primer, params, alias).due
        due = dues[of]
        if due is None or primer.bounds(key)[1] > due:
            continue
        if rate:
            time.sleep(max(began + done / rate - time.monotonic(), 0))
        outcome = _filled(key, primer, alias, again, before)
        done += outcome.outcome != "there"
        yield outcome


def _filled(key: Key, primer: TimeFrame, alias: str, again: bool, before: datetime | None) -> Filled:
    with framed.slots(alias) as session:
        known = frames.read(session, [key.digest]).get(key.digest)
    closed = known is not None and known.state == frames.CLOSED and known.have >= known.want
    if known is not None and known.state == frames.SKIPPED and not again:
        return Filled(key, "skipped")
    fresh = before is not None and known is not None and (known.closed_at or before) >= before
    if closed and (not again or fresh):
        return Filled(key, "there")
    day = 86_400.0
    deadline = time.monotonic() + day
    try:
        framed.refuse_older(key, primer, alias)
        # Before it is planned itself: a worker would merge it without them.
        framed.compute_parts(key, primer, alias, deadline, past=True)
        with framed.slots(alias) as session:
            _wanted(session, key, primer, known, closed)
        outcome = framed.computed(
            key, primer, alias, reason="backfill", force=True, deadline=deadline, wait=day
        )
    except KckFlowError as error:
        return Filled(key, "failed", error)
    return Filled(key, "done" if outcome == "found" else outcome)


def _wanted(session: Session, key: Key, primer: TimeFrame, known: Any, closed: bool) -> None:
    if known is None:
        frames.plan(
            session,
            primer.name,
            [framed.planned(primer, key)],
            primer_version=primer.version,
            lane=refreshes.BACKFILL,
            reason="backfill",
        )
    elif known.state == frames.SKIPPED:
        frames.unskip(session, [key.digest], lane=refreshes.BACKFILL)
    elif closed:
        frames.ask(session, [key.digest], lane=refreshes.BACKFILL, reason="backfill")


# -- how far they are


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a family is behind its stream.

    Attributes:
        pending: Frames whose window is complete and that are neither closed nor skipped.
        seconds: From the beginning of the oldest of them to where the stream is complete; 0 where there is none.
        watermark: Up to when the stream is complete, of the product that is behind most.
    """

    name: str
    pending: int
    seconds: float
    watermark: datetime | None


def lag(name: str) -> Lag:
    """Return how far a family is behind its stream."""
    primer = family(name)
    alias = spread.alias_of(primer)
    session = caller(alias)
    pending, seconds, least = 0, 0.0, None
    for params in planner.products_of(primer):
        seen = horizon.look(primer, params, alias)
        if seen.watermark is not None:
            least = min(least, seen.watermark) if least is not None else seen.watermark
        if seen.first is None or seen.due is None:
            continue
        for size, window in primer.sizes.items():
            of, first = primer.series_key(params, size), planner.first_of(primer, size, seen.first)
            expected = primer.whole(size, first, seen.due)
            open_, oldest = _open(session, window, of, first, expected)
            pending += open_
            if oldest is not None:
                seconds = max(seconds, (seen.due - oldest).total_seconds())
    return Lag(primer.name, pending, seconds, least)


def needs_from(primer: TimeFrame, now: datetime) -> datetime | None:
    """Return from when on a family still needs its stream; see ``TimeFrame.needs_from``."""
    alias = spread.alias_of(primer)
    session = caller(alias)
    needs: list[datetime] = []
    for params in planner.products_of(primer):
        seen = horizon.look(primer, params, alias)
        if seen.first is None:
            return None
        for size in _computed(primer):
            of = primer.series_key(params, size)
            first = planner.first_of(primer, size, max(seen.first, seen.deleted or seen.first))
            needs.append(_oldest_open(session, primer, size, of, first, now))
    return min(needs) - primer.lateness if needs else None


def _oldest_open(
    session: Any, primer: TimeFrame, size: str, of: Key, first: datetime, now: datetime
) -> datetime:
    """Return where the oldest window begins that is neither closed nor skipped, or is to be computed again."""
    window, start = primer.sizes[size], first
    if first <= now:
        last = window.start_of(now)
        step = window.step(first, last)
        begun = (
            (last - first) // step + 1 if step is not None else sum(1 for _ in _starts(window, first, last))
        )
        _, oldest = _open(session, window, of, first, begun)
        start = oldest if oldest is not None else window.after(last)
    again = frames.oldest_open(session, of)
    return min(start, again) if again is not None else start


def _starts(window: Window, first: datetime, last: datetime) -> Iterator[datetime]:
    """Yield where windows begin, from ``first`` to ``last``."""
    while first <= last:
        yield first
        first = window.after(first)


def _open(
    session: Session, window: Window, of: Key, first: datetime, number: int
) -> tuple[int, datetime | None]:
    """Return how many of so many windows, from ``first`` on, are neither closed nor skipped, and where the oldest of
    them begins. Counted by the database: there may be a million.
    """
    if number <= 0:
        return 0, None
    # Only of hours it matters from when to when.
    step = window.step(first, first + HOUR * number)
    if step is None:
        starts = list(islice(_starts(window, first, datetime.max.replace(tzinfo=UTC)), number))
        known = frames.decided_starts(session, of, first, window.after(starts[-1]))
        left = [start for start in starts if start not in known]
        return len(left), left[0] if left else None
    last = first + step * (number - 1)
    left_over = number - frames.decided_between(session, of, first, last)
    if left_over <= 0:
        return 0, None
    return left_over, frames.undecided(session, of, first, last, step.total_seconds())


TimeFrame.oldest_need = staticmethod(needs_from)


def outlived(primer: TimeFrame, now: datetime) -> dict[str, datetime]:
    """Return by size before when frames may be deleted: older than ``retention``, and merged into whatever is made of
    them.
    """
    if primer.retention is None or registry.broken:
        return {}  # what cannot be set up may be merged from them
    return {size: min([now - primer.retention, *_needed_above(primer, size, now)]) for size in primer.sizes}


def _needed_above(primer: TimeFrame, size: str, now: datetime) -> Iterator[datetime]:
    """Yield from when on the frames of a size are needed for those that are merged from them."""
    for other, sizes in horizon.coarser_of(primer, size):
        alias = spread.alias_of(other)
        session = caller(alias)
        for params in planner.products_of(other):
            seen = horizon.look(other, params, alias)
            for name in sizes if seen.first is not None else ():
                assert seen.first is not None
                first = planner.first_of(other, name, seen.first)
                yield _oldest_open(session, other, name, other.series_key(params, name), first, now)


def old(primer: TimeFrame, now: datetime) -> int:
    """Return how many frames of a family may be deleted; see ``outlived``."""
    session = caller(spread.alias_of(primer))
    return sum(
        frames.old(session, primer.name, size, before) for size, before in outlived(primer, now).items()
    )


def prune(primer: TimeFrame, now: datetime) -> Iterator[int]:
    """Delete them, with all their records; yields how many each batch had."""
    session = caller(spread.alias_of(primer))
    for size, before in outlived(primer, now).items():
        yield from frames.prune(session, primer.name, size, before, primer.record_model)


@dataclass(frozen=True, slots=True)
class Stats:
    """What the frames of one size took, over a range. Durations are milliseconds; None where nothing was done."""

    size: str
    frames: int
    items: int | None
    compute_ms: float | None
    longest_ms: float | None
    cleanup_ms: float | None
    late: int
    revised: int
    incomplete: int
    start: datetime
    end: datetime


def stats(name: str, start: datetime | None = None, end: datetime | None = None) -> list[Stats]:
    """Return what the closed frames of a range took, on average, by size."""
    primer = family(name)
    rows = frames.stats(caller(spread.alias_of(primer)), primer.name, start, end)
    return [Stats(row[0], row[1], int(row[2]) if row[2] is not None else None, *row[3:]) for row in rows]


NAMES = (
    "key", "start", "end", "state", "reason", "items", "late", "revision", "complete", "again", "primer_version",
    "planned_at", "closed_at", "cleaned_at", "compute_ms", "cleanup_ms", "cleanup_error", "attempts", "last_error",
    "parked_why",
)  # fmt: skip


def listed(
    text: str,
    start: datetime | None = None,
    end: datetime | None = None,
    *,
    state: str = "",
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Return the frames of a family, of one of its products or of one size, the newest first, as dicts of ``NAMES``.

    Args:
        text: A key base, or a key without its window.
        state: Only those that are ``planned``, ``closed``, ``skipped`` or ``failed``.
    """
    family(keys.base_of(text))
    primer, params, size = framed.series_key(text) if "/" in text else (family(text), {}, "")
    args = _args(primer, params)
    if size and "/" in text and size in text.split("/"):
        args["size"] = size
    rows = frames.listed(
        caller(spread.alias_of(primer)),
        primer.name,
        start=start,
        end=end,
        args=args,
        state=state,
        limit=limit,
    )
    return [dict(zip(NAMES, row, strict=True)) for row in rows]
