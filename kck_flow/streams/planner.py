"""Which frames there should be: expected windows minus those that are there, of each product and size.

    expected: from the epoch on, all windows that are complete · minus rows of kck_frame -> planned, with a slot each
    closed, and its record is gone -> planned again · closed, and its stream counts otherwise -> computed again

A family has one slot that does this, ``!frames:<name>``, due when the next window can close, or when somebody wakes it.
Nothing is reckoned from the newest frame: a hole is a hole wherever it is. Two planners at once change nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from .. import clock
from ..cache import horizon
from ..cache.compute import RAISED, Sessions
from ..cache.facade import Cache
from ..cache.failures import backoff_seconds, describe
from ..cache.horizon import Horizon
from ..registry import registry
from ..store import families, frames, refreshes, runs
from ..store.frames import Planned
from ..store.refreshes import Claim, Ending
from ..store.session import Session, caller
from ..storing import args_of
from ..timeframe import TimeFrame

logger = logging.getLogger("kck_flow")

# How often whether records were deleted is looked at, where nobody asks; how often a stream that is behind is, at the
# least and at the most.
LOOK_SECONDS = 60.0
POLL_SECONDS = (1.0, 60.0)
# Windows of a size whose parts are looked at together, and closed frames that are compared with their stream at once.
BATCH = 1000
RESOLUTION = timedelta(microseconds=1)
MOST_COMPARED = 20_000


class Found(NamedTuple):
    """What one planning did: how many frames it planned, gave up and asked for again, and when it is due next."""

    planned: int
    skipped: int
    again: int
    due: datetime | None


def products_of(primer: TimeFrame) -> list[dict[str, Any]]:
    """Return the own parameters of each product of a family; a domain that is itself a product is read. What it raises,
    rises.
    """
    if isinstance(primer.domain, str):
        return primer.products_of(Cache.get_instance().get(primer.domain) or ())
    return primer.products()


def plan(primer: TimeFrame, alias: str, sessions: Sessions, *, thorough: bool = True) -> Found:
    """Plan what is missing of a family, as many frames as its queue takes.

    Args:
        thorough: Whether also frames are looked for whose record somebody has deleted.
    """
    return _Planning(primer, alias, sessions).carry_out(thorough)


_looked: dict[tuple[str, str], float] = {}


def carry_out(claim: Claim, alias: str, sessions: Sessions, worker: str) -> str:
    """Plan a family under the lease of its slot; returns ``planned, skipped, released, failed``."""
    begun = time.monotonic()
    primer = registry.primers.get(claim.key.key_base.partition(":")[2])
    if not isinstance(primer, TimeFrame):
        with sessions() as session:
            refreshes.release(session, claim, delay=5.0)
        return "released"
    with sessions() as session:
        family = families.row(session, primer.name)
        if family is not None and family[2] > primer.version:
            refreshes.release(session, claim, delay=5.0)
            return "released"
    try:
        now, known = time.monotonic(), _looked.get((alias, primer.name))
        thorough = known is None or now - known >= LOOK_SECONDS or clock.is_moved()
        found = plan(primer, alias, sessions, thorough=thorough)
        if thorough:
            _looked[alias, primer.name] = now
        with sessions() as session:
            cost = (time.monotonic() - begun) * 1000
            refreshes.finish(session, claim, Ending(refreshes.TRIGGERED, found.due, None, cost))
        if found.planned or found.skipped or found.again:
            logger.info(
                "frames.planned family=%s new=%d skipped=%d again=%d", primer.name, found.planned, found.skipped,
                found.again,
            )  # fmt: skip
        return "planned"
    except RAISED as error:
        logger.exception("frames.not_planned family=%s", primer.name)
        with sessions() as session, session.transaction():
            refreshes.fail(
                session,
                claim,
                error=describe(error),
                backoff=backoff_seconds(primer, claim.attempts + 1),
                retry=True,
                park=False,
                next_due=None,
                nominal=None,
            )
            runs.of_claim(session, claim, "failed", reason="frames", error=describe(error), worker=worker)
        return "failed"


def oldest_of(primer: TimeFrame) -> datetime:
    """Return before when the frames of a family are pruned, and none is expected."""
    kept = primer.retention
    return clock.now() - kept if kept is not None else frames.BEGINNING + frames.SLACK * 3


def first_of(primer: TimeFrame, size: str, first: datetime) -> datetime:
    """Return where the first window of a size begins that is expected of a family whose stream begins at ``first``: the
    first that ends behind what is kept no longer.
    """
    window, oldest = primer.sizes[size], oldest_of(primer)
    if first >= oldest:
        return window.start_of(first)
    start = window.start_of(oldest)
    for _ in range(primer.hops - 1):  # windows that overlap it, too
        start = window.start_of(start - RESOLUTION)
    return max(start, window.start_of(first))


class _Planning:
    """One planning of a family."""

    def __init__(self, primer: TimeFrame, alias: str, sessions: Sessions) -> None:
        self.primer, self.alias, self.sessions = primer, alias, sessions
        self.planned = self.skipped = self.again = 0
        self.room = 0
        self.due: datetime | None = None

    def carry_out(self, thorough: bool) -> Found:
        primer = self.primer
        products = products_of(primer)
        with self.sessions() as session:
            self.room = primer.max_pending - frames.waiting(session, primer.name)
        for params in products:
            # The stream is asked on this thread's own connection.
            seen = horizon.look(primer, params, self.alias, session=caller(self.alias), pin=True)
            self._next(seen)
            if seen.first is None or seen.due is None:
                continue
            for size in primer.sizes:
                self._plan(params, size, seen)
            if horizon.base_of(primer) is None:
                self._compare(params, seen)
        self._heal(thorough)
        return Found(self.planned, self.skipped, self.again, self.due)

    # -- what is missing

    def _plan(self, params: dict[str, Any], size: str, seen: Horizon) -> None:
        primer = self.primer
        assert seen.first is not None
        assert seen.due is not None
        first = first_of(primer, size, seen.first)
        missing = self._missing(params, size, first, seen.due)
        if not missing:
            return
        finer = horizon.finer_of(primer, size)
        if finer is not None:
            missing = self._mergeable(params, missing, *finer)
        elif seen.deleted is not None:
            gone = [window for window in missing if window[0] < seen.deleted]
            missing = missing[len(gone) :]
            why = f"what its stream had before {seen.deleted:%Y-%m-%d %H:%M:%S} UTC was deleted"
            with self.sessions() as session:
                skipped = frames.skip(
                    session,
                    primer.name,
                    self._rows(params, size, gone),
                    primer_version=primer.version,
                    reason=why,
                    model=primer.record_model,
                    also_planned=False,
                )
            self.skipped += len(skipped)
            if skipped:
                logger.warning("frames.skipped family=%s frames=%d why=%s", primer.name, len(skipped), why)
        self._put(params, size, missing[: max(self.room, 0)])

    def _missing(
        self, params: dict[str, Any], size: str, first: datetime, due: datetime
    ) -> list[tuple[datetime, datetime]]:
        """Return the oldest of the windows that have no frame, at most ``BATCH`` of them."""
        primer = self.primer
        step, of = primer.sizes[size].step(first, due), primer.series_key(params, size)
        expected = primer.whole(size, first, due)
        if expected <= 0:
            return []
        with self.sessions() as session:
            if step is not None:
                last = first + step * (expected - 1)
                if frames.there(session, of, first, last + step) >= expected:
                    return []
                starts = frames.holes(session, of, first, last, step.total_seconds(), BATCH)
                return [(start, primer.end_of(size, start)) for start in starts]
            if frames.there(session, of, first, due) >= expected:
                return []
            known = frames.starts(session, of, first, due)
        found = []
        for start, end in primer.walk(size, first, due):
            if start not in known:
                found.append((start, end))
                if len(found) >= BATCH:
                    break
        return found

    def _mergeable(
        self, params: dict[str, Any], windows: Sequence[tuple[datetime, datetime]], base: TimeFrame, fine: str
    ) -> list[tuple[datetime, datetime]]:
        """Return those of some windows whose finer frames are all closed or skipped."""
        seen = horizon.look(base, params, self.alias, session=caller(self.alias))
        if seen.first is None:
            return []
        # What is kept no longer is not waited for; a frame that lacks it is not complete.
        begins = first_of(base, fine, seen.first)
        with self.sessions() as session:
            decided = frames.decided(session, base.series_key(params, fine), windows)
        return [
            (start, end)
            for start, end in windows
            if decided[start] >= (base.whole(fine, max(start, begins), end) if begins < end else 0)
        ]

    def _rows(
        self, params: dict[str, Any], size: str, windows: Sequence[tuple[datetime, datetime]]
    ) -> list[Planned]:
        primer = self.primer
        of, rows = primer.series_key(params, size), []
        for start, end in windows:
            key = primer.key_at(params, size, start)
            rows.append(Planned(key, args_of(primer, key), of, start, end))
        return rows

    def _put(self, params: dict[str, Any], size: str, windows: Sequence[tuple[datetime, datetime]]) -> None:
        if not windows:
            return
        primer = self.primer
        with self.sessions() as session:
            new = frames.plan(
                session,
                primer.name,
                self._rows(params, size, windows),
                primer_version=primer.version,
                lane=primer.priority,
                reason="frame",
            )
        self.planned += new
        self.room -= new

    # -- what is there, and not as it should be

    def _heal(self, thorough: bool) -> None:
        primer = self.primer
        with self.sessions() as session:
            lost = frames.forgotten(session, primer.name, BATCH, closed_too=thorough)
            self.again += len(frames.ask(session, lost, lane=primer.priority, reason="hole"))
            if not thorough or self.room <= 0:
                return
            gone = frames.valueless(
                session, primer.name, oldest_of(primer), min(self.room, BATCH), primer.record_model
            )
            if gone:
                asked = frames.ask(session, gone, lane=primer.priority, reason="hole", again=True)
                logger.info("frames.recreated family=%s frames=%d", primer.name, len(asked))
                self.again += len(asked)
                self.room -= len(asked)

    def _compare(self, params: dict[str, Any], seen: Horizon) -> None:
        """Have closed frames computed again whose stream counts otherwise by now: it told nobody."""
        primer, back = self.primer, self.primer.looks_back()
        if back <= timedelta(0) or seen.due is None or seen.first is None:
            return
        stream = primer.stream_of(params)
        for size in primer.sizes:
            if horizon.finer_of(primer, size) is not None:
                continue
            since = max(seen.due - back - primer.length(size), oldest_of(primer), seen.deleted or seen.first)
            of = primer.series_key(params, size)
            with self.sessions() as session:
                closed = frames.closed(session, of, since, seen.due)[-MOST_COMPARED:]
            if primer.hops > 1:
                moved = [(one, n) for one in closed if (n := stream.count(one.start, one.end)) != one.items]
            else:
                moved = [one for together in _runs(closed) for one in _moved(stream, together)]
            for one, n in moved:
                self._differs(one, n)

    def _differs(self, one: frames.Closed, n: int) -> None:
        late = max(n - one.items, 0)
        with self.sessions() as session:
            if self.primer.late == "revise":
                if frames.ask(session, [one.digest], lane=self.primer.priority, reason="late", late=late):
                    self.again += 1
            elif late > one.late:
                frames.set_late(session, one.digest, late)

    # -- when next

    def _next(self, seen: Horizon) -> None:
        """Work out when the next window of a product can close, and have the slot due by then."""
        primer, now = self.primer, clock.now()
        least, most = (timedelta(seconds=one) for one in POLL_SECONDS)
        for size, window in primer.sizes.items():
            if horizon.finer_of(primer, size) is not None and size and primer.finer[size] is not None:
                continue  # its parts wake us
            step = primer.length(size) / max(primer.hops, 1)
            # By the clock: the first window that ends behind now - lateness.
            start = window.start_of(max(now - primer.lateness - primer.length(size), frames.BEGINNING))
            end = primer.end_of(size, start)
            while end + primer.lateness <= now:
                start = window.after(start)
                end = primer.end_of(size, start)
            due = end + primer.lateness
            if seen.due is None or seen.due < due - primer.lateness - step:
                # It is behind the clock: what it waits for may come at any moment.
                due = min(due, now + min(max(step / 10, least), most))
            due = max(due, now + least)
            self.due = min(self.due, due) if self.due is not None else due


def _runs(closed: Sequence[frames.Closed]) -> list[list[frames.Closed]]:
    """Return closed frames by those that follow one another: what lies between two runs belongs to neither."""
    found: list[list[frames.Closed]] = []
    for one in closed:
        if found and found[-1][-1].end == one.start:
            found[-1].append(one)
        else:
            found.append([one])
    return found


def _moved(stream: Any, closed: Sequence[frames.Closed]) -> Any:
    """Yield (frame, items now) of those frames that follow one another whose stream counts otherwise: halved until what
    differs is found.
    """
    n = stream.count(closed[0].start, closed[-1].end)
    if n == sum(one.items for one in closed):
        return
    if len(closed) == 1:
        yield closed[0], n
        return
    half = len(closed) // 2
    yield from _moved(stream, closed[:half])
    yield from _moved(stream, closed[half:])


def sync(session: Session, primer: TimeFrame) -> bool:
    """See that a family's planner has its slot; returns whether it is due by that."""
    return frames.planner(session, frames.slot_key(primer.name), refreshes.TRIGGERED)


def families_of(names: Sequence[str] | None = None) -> list[TimeFrame]:
    """Return the time frames that are declared, or those named."""
    found = [primer for primer in registry.unique() if isinstance(primer, TimeFrame)]
    return [primer for primer in found if names is None or primer.name in names]
