"""A read of a time frame: its current record; one that could be closed and is not yet, is, on the miss."""

from __future__ import annotations

import copy
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import Error as DatabaseErrors
from django.db import connections, transaction

from .. import clock, spread, waking
from .. import key as keys
from ..conf import conf
from ..entry import Entry, Point
from ..errors import (
    InvalidKey,
    KckFlowError,
    NotPrimed,
    StoreUnavailable,
    UnstorableValue,
    WaitTimeout,
)
from ..key import Key
from ..registry import registry
from ..store import families, frames, pending, private, refreshes
from ..store.frames import Standing
from ..store.refreshes import Claim
from ..store.session import Session, caller
from ..storing import args_of
from ..timeframe import TimeFrame
from . import flight, frame, framing, horizon, making, reach
from .compute import RAISED, SERIALIZATION, Outcome, sqlstate
from .context import ATOMIC, OPEN, TEST, context_of, is_dirty
from .failures import failure_of, stored_failure
from .pool import pool

# How often whoever waits for another process looks whether it has come to an end.
LOOK_SECONDS = 0.02


def framed(key: Key) -> TimeFrame | None:
    """Return the time frame that a key is of; None where it is no time frame's."""
    primer = registry.primers.get(key.key_base)
    return primer if isinstance(primer, TimeFrame) else None


class UnderWay(Exception):
    """An async read has found a miss: the frame is being made, and asyncio may wait for that."""

    def __init__(self, trip: Trip) -> None:
        self.trip = trip


class Trip(flight.Flight):
    """The making of a frame in a thread of the pool, for all in this process who may not wait in theirs."""

    made: Entry | None = None

    def entry(self) -> Entry:
        """Return what was made, to each caller a copy of its own."""
        assert self.made is not None
        return replace(self.made, value=copy.deepcopy(self.made.value))

    def answers(self, outcome: Outcome) -> bool:
        """Whether its outcome is for everybody who waits: how long somebody else would wait is not."""
        return not isinstance(outcome.error, WaitTimeout)


_trips: dict[tuple[int, str, UUID], Trip] = {}
_trips_lock = threading.Lock()


def _joined(key: Key, primer: TimeFrame, alias: str, wait: float | None) -> Trip:
    """Return the trip that makes a frame in this process; one that is not under way begins."""
    name = (os.getpid(), alias, key.digest)
    with _trips_lock:
        known = _trips.get(name)
        if known is not None:
            return known
        trip = _trips[name] = Trip(primer, key, alias, "miss", "prime", False)

    def over() -> None:
        with _trips_lock:
            _trips.pop(name, None)

    trip.when_done(over)
    _depart(trip, lambda: _entry(key, primer, alias, _made(key, primer, alias, wait)))
    return trip


def refreshing(key: Key, primer: TimeFrame) -> Trip:
    """Begin to compute a frame now, as ``refresh`` does, in a thread of the pool."""
    trip = Trip(primer, key, spread.alias_of(primer), refreshes.MANUAL, "refresh", True)
    _depart(trip, lambda: refresh(key, primer))
    return trip


def _depart(trip: Trip, make: Callable[[], Entry]) -> None:
    def carry_out() -> None:
        error: BaseException | None = None
        try:
            trip.made = make()
        except BaseException as raised:
            error = raised
        trip.finish(
            Outcome(trip.key, trip.primer.codec, error=error, kind="found" if error is None else "failed")
        )

    pool().submit(carry_out)


def entry(
    key: Key,
    primer: TimeFrame,
    *,
    prime: bool | None = None,
    wait: float | None = None,
    patient: bool = True,
) -> Entry:
    """Return a frame with its instants; its version is its revision.

    Args:
        patient: Whether this thread may wait.

    Raises:
        UnderWay: it may not, and the frame is being made.
        NotPrimed: its window is still open, it was skipped, or it is not computed and may not be.
        ComputeFailed, WaitTimeout: as for any product.
    """
    _refuse(key)
    alias = spread.alias_of(primer)
    found = _read(key, alias)
    if found is None or not _has_value(primer, alias, found):
        _refuse_missing(key, primer, alias, found, prime)
        if _must_be_here(alias):
            return _noted(key, primer, alias, _live(key, primer, alias, found))
        if not patient and frame.current() is None and context_of(alias) == OPEN:
            raise UnderWay(_joined(key, primer, alias, wait))
        found = _made(key, primer, alias, wait)
    elif _told_here(found, alias):
        return _noted(key, primer, alias, _live(key, primer, alias, found))
    return _noted(key, primer, alias, _entry(key, primer, alias, found))


def entries(asked: Sequence[tuple[Key, TimeFrame]], *, patient: bool = True) -> list[Entry | Exception]:
    """Return many frames, or what was raised instead, as ``entry`` does: one statement for those that are there, for
    each database.
    """
    found: dict[Key, Standing] = {}
    for alias in dict.fromkeys(spread.alias_of(primer) for _, primer in asked):
        own = [key for key, primer in asked if spread.alias_of(primer) == alias]

        def ask(alias: str = alias, own: list[Key] = own) -> Any:
            return frames.read(caller(alias), [key.digest for key in own])

        held = reach.once_more(alias, context_of(alias) == OPEN, f"{len(own)} frames", ask)
        found.update((key, held[key.digest]) for key in own if key.digest in held)
    told: list[Entry | Exception] = []
    for key, primer in asked:
        try:
            alias, one = spread.alias_of(primer), found.get(key)
            if one is None or not _has_value(primer, alias, one) or _told_here(one, alias):
                told.append(entry(key, primer, patient=patient))
            else:
                _refuse(key)
                told.append(_noted(key, primer, alias, _entry(key, primer, alias, one)))
        except Exception as error:
            told.append(error)
    return told


def _refuse(key: Key) -> None:
    here = frame.current()
    if here is not None:
        here.refuse(key)


def _read(key: Key, alias: str) -> Standing | None:
    def ask() -> Standing | None:
        return frames.read(caller(alias), [key.digest]).get(key.digest)

    return reach.once_more(alias, context_of(alias) == OPEN, str(key), ask)


def _has_value(primer: TimeFrame, alias: str, found: Standing) -> bool:
    if found.state != frames.CLOSED:
        return False
    if primer.record_model is None:
        return found.record is not None
    return bool(frames.typed_of(caller(alias), primer.record_model, [found.digest]))


def _value(primer: TimeFrame, alias: str, found: Standing) -> Any:
    if primer.record_model is not None:
        row = frames.typed_of(caller(alias), primer.record_model, [found.digest]).get(found.digest)
        return frames.own_columns(row) if row is not None else None
    return primer.codec.decode(found.text) if found.text is not None else None


def _entry(key: Key, primer: TimeFrame, alias: str, found: Standing) -> Entry:
    value = _value(primer, alias, found)
    at = found.closed_at or found.at
    state: Any = "stale" if found.want > found.have or found.told else "fresh"
    gaps = () if found.complete else ((found.start, found.end),)
    return Entry(str(key), value, found.revision, at, None, None, state, found.at - at, gaps=gaps)


def _noted(key: Key, primer: TimeFrame, alias: str, entry: Entry) -> Entry:
    """Remember what the product being computed here has read."""
    if frame.current() is not None:
        revision = entry.version

        def moved(session: Session) -> bool:
            now = frames.read(session, [key.digest]).get(key.digest)
            return now is None or now.revision != revision

        frame.note_counted(key, moved)
    return entry


# -- a miss


def _refuse_missing(
    key: Key, primer: TimeFrame, alias: str, found: Standing | None, prime: bool | None
) -> None:
    """Raise NotPrimed where a missing frame may not be computed."""
    if found is not None and found.state == frames.SKIPPED:
        raise NotPrimed(
            f"{str(key)!r} was skipped: {found.reason}. All the same: manage.py kck frames --unskip {key}"
        )
    may = primer.prime_on_cache_miss if prime is None else prime
    refuse_open(key, primer, alias)
    if not may:
        raise NotPrimed(
            f"{str(key)!r} is not computed yet, and this call may not compute it. Run: manage.py kck refresh {key}"
        )


def _must_be_here(alias: str) -> bool:
    """Whether only the caller's own connection shows the truth: nothing computed there may be stored."""
    if context_of(alias) == TEST:
        return False
    here = frame.current()
    return bool(here is not None and (here.inline or here.snapshot)) or is_dirty(alias)


def _told_here(found: Standing, alias: str) -> bool:
    """Whether the caller's transaction has changed what a frame was made of, and told so."""
    return found.told and context_of(alias) == ATOMIC and _must_be_here(alias)


def _live(key: Key, primer: TimeFrame, alias: str, found: Standing | None) -> Entry:
    """Return a frame computed for this call only, with the caller's own truth.

    Raises:
        NotPrimed: its data is gone.
        ComputeFailed: it failed, just now or within its back-off.
    """
    standing = refreshes.standing(caller(alias), [key.digest])[str(key.digest)]
    if standing.held_back and not frames.is_told(caller(alias), key):
        retry_in = standing.retry_at - standing.now if standing.retry_at is not None else None
        raise stored_failure(key, standing.last_error, retry_in, standing.parked_why)
    try:
        value, complete = making.Live(key, primer, alias).make()
    except NotPrimed:
        raise
    except RAISED as error:
        # A failed serialization has ended the transaction around us: whoever began that begins it once more.
        if sqlstate(error) in SERIALIZATION or (failure := failure_of(key, error)) is error:
            raise
        raise failure from error
    now = clock.now()
    gaps = () if complete else (primer.bounds(key),)
    revision = found.revision if found is not None else 0
    return Entry(str(key), value, revision, now, None, None, "fresh", timedelta(0), gaps=gaps)


def _made(key: Key, primer: TimeFrame, alias: str, wait: float | None) -> Standing:
    """Return a frame once it has been computed, by whomever."""
    seconds = wait if wait is not None else primer.wait_seconds(conf.WAIT)
    deadline = time.monotonic() + seconds
    compute_parts(key, primer, alias, deadline)
    computed(key, primer, alias, reason="miss", force=False, deadline=deadline, wait=seconds)
    found = _read_anew(key, alias)
    if found is None or not _has_value(primer, alias, found):
        why = f": {found.reason}" if found is not None and found.reason else ""
        raise NotPrimed(f"{str(key)!r} could not be computed{why}. See: manage.py kck explain {key}")
    return found


def _read_anew(key: Key, alias: str) -> Standing | None:
    """Read what has just been committed, which the snapshot of a caller's transaction may not show."""
    if context_of(alias) in (OPEN, TEST):
        return _read(key, alias)
    with private.session(alias) as session:
        return frames.read(session, [key.digest]).get(key.digest)


def refuse_open(key: Key, primer: TimeFrame, alias: str) -> None:
    """Raise NotPrimed where a frame's window cannot be closed: it is open, or there are none of its time."""
    start, end = primer.bounds(key)
    seen = horizon.look(primer, horizon.own_params(primer, key), alias)
    if seen.first is None:
        raise NotPrimed(f"{str(key)!r}: its stream has no items yet.")
    first = primer.sizes[key.params.get("size", "")].start_of(seen.first)
    known = _read(key, alias)
    if start < first and known is None:
        raise NotPrimed(
            f"{str(key)!r} lies before its frames begin ({first.isoformat()}). For older ones: "
            f"manage.py kck backfill {primer.name} --from {start.isoformat()} --to {end.isoformat()}"
        )
    if primer.retention is not None and known is None and end <= clock.now() - primer.retention:
        raise NotPrimed(
            f"{str(key)!r} ended longer ago than the frames of {primer.name!r} are kept: {primer.retention}."
        )
    if primer.until is not None and end > primer.until:
        raise NotPrimed(f"{str(key)!r} lies behind the end of its frames ({primer.until.isoformat()}).")
    if seen.due is None or end > seen.due:
        closes = end + primer.lateness
        upto = seen.watermark.isoformat() if seen.watermark is not None else "nobody knows when"
        raise NotPrimed(
            f"{str(key)!r} is still open: it closes once its stream is complete up to {closes.isoformat()}, "
            f"and that is complete up to {upto}."
        )
    from_items = horizon.finer_of(primer, key.params.get("size", "")) is None
    if seen.deleted is not None and start < seen.deleted and from_items:
        raise NotPrimed(
            f"{str(key)!r} cannot be computed any more: what its stream had before {seen.deleted.isoformat()} "
            "was deleted."
        )


def compute_parts(key: Key, primer: TimeFrame, alias: str, deadline: float, *, past: bool = False) -> None:
    """See that the finer frames are there which a frame is merged from. What they raise, rises.

    Args:
        past: Whether also those are computed that lie before the finer frames begin.
    """
    size = key.params.get("size", "")
    finer = horizon.finer_of(primer, size)
    if finer is None:
        return
    base, fine = finer
    params = horizon.own_params(primer, key)
    start, end = primer.bounds(key)
    first = start
    if not past:
        seen = horizon.look(base, params, alias)
        if seen.first is None:
            return
        first = max(start, base.sizes[fine].start_of(seen.first))
    session = caller(alias)
    known = frames.decided_starts(session, base.series_key(params, fine), start, end)
    for begins, _ in base.walk(fine, first, end):
        if begins not in known:
            part = base.key_at(params, fine, begins)
            compute_parts(part, base, alias, deadline, past=past)
            computed(part, base, alias, reason="miss", force=False, deadline=deadline, wait=0)


def computed(
    key: Key,
    primer: TimeFrame,
    alias: str,
    *,
    reason: str,
    force: bool,
    deadline: float,
    wait: float,
) -> str:
    """Have a frame computed here, or wait for whoever does; returns the outcome.

    Args:
        force: Whether also within the back-off of a failure.
        deadline: Of the monotonic clock: until when to wait.
        wait: How long that was, for the message.

    Raises:
        WaitTimeout: it is still being computed.
        ComputeFailed and what compute may raise: it failed, just now or within its back-off.
        StoreUnavailable: it could not begin.
    """
    if context_of(alias) == TEST:
        return _in_test(key, primer, alias, reason)
    while True:
        done: list[Any] = []

        def work(done: list[Any] = done) -> None:
            try:
                done.append(now(key, primer, alias, reason=reason, force=force))
            except BaseException as error:
                done.append(error)

        _apart(work, max(deadline - time.monotonic(), 0))
        outcome = done[0] if done else None
        if isinstance(outcome, framing.Framing):
            if outcome.error is not None:
                raise failure_of(key, outcome.error)
            if outcome.outcome == "released":
                _wait_for_newer_release(key, primer, alias, deadline, wait)
                return "found"
            return outcome.outcome
        if isinstance(outcome, (private.Busy, DatabaseErrors)):
            raise StoreUnavailable(f"{str(key)!r} could not be computed: {outcome}".strip()) from outcome
        if isinstance(outcome, BaseException):
            raise outcome
        if done:  # somebody else has it, or it failed a moment ago
            over = _waited_for(key, primer, alias, deadline)
            if over is not None:
                return over
        if time.monotonic() >= deadline:
            raise flight.timeout(key, wait)


def _wait_for_newer_release(key: Key, primer: TimeFrame, alias: str, deadline: float, wait: float) -> None:
    """Wait for a worker of the newer release that computes a family by now. Raises WaitTimeout: none did."""
    while time.monotonic() < deadline:
        with private.session(alias) as session:
            standing = frames.read(session, [key.digest]).get(key.digest)
        if standing is not None and standing.state != frames.PLANNED and standing.have >= standing.want:
            return
        time.sleep(LOOK_SECONDS)
    raise flight.timeout(key, wait)


def refuse_older(key: Key, primer: TimeFrame, alias: str) -> None:
    """Raise NotPrimed where a newer release computes a family, or one that it is merged from: by this one's code it
    would be what it was before.
    """
    one: TimeFrame | None = primer
    while one is not None:
        family = families.row(caller(alias), one.name)
        if family is not None and family[2] > one.version:
            raise NotPrimed(
                f"{str(key)!r} is computed by a newer release: {one.name!r} has version {family[2]} there, and "
                f"{one.version} here."
            )
        one = horizon.base_of(one)


def now(key: Key, primer: TimeFrame, alias: str, *, reason: str, force: bool) -> framing.Framing | None:
    """Compute a frame on this thread's connection; None where somebody else computes it, or it failed a moment ago."""
    sessions = private_sessions(alias)
    with sessions() as session:
        claim = _claim(session, key, primer, reason, force, conf.LEASE_SECONDS, flight.owner())
    if claim is None:
        return None
    framed = framing.Framing(claim, primer, alias, sessions)
    framed.carry_out()
    return framed


def _claim(
    session: Session, key: Key, primer: TimeFrame, reason: str, force: bool, lease: float, owner: str
) -> Claim | None:
    return refreshes.claim(
        session,
        key,
        args_of(primer, key),
        lease=lease,
        owner=owner,
        limit=None,
        reason=reason,
        lane=primer.priority,
        force=force,
    )


def _in_test(key: Key, primer: TimeFrame, alias: str, reason: str) -> str:
    session = caller(alias)
    session.run("UPDATE kck_refresh SET lease_until = NULL WHERE digest = %s", [key.digest])
    claim = _claim(session, key, primer, reason, True, 3600, "test")
    assert claim is not None
    framed = framing.Framing(claim, primer, alias, test_sessions(alias), own_thread=False, watched=False)
    outcome = framed.carry_out()
    if framed.error is not None:
        raise failure_of(key, framed.error)
    return outcome


def _apart(work: Callable[[], None], seconds: float) -> None:
    """Run something in a thread with connections of its own, and wait for it so long: what it commits is no part of
    what this thread is in the middle of.
    """

    def carry_out() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=carry_out, name="kck-frame", daemon=True)
    thread.start()
    thread.join(seconds)


def _waited_for(key: Key, primer: TimeFrame, alias: str, deadline: float) -> str | None:
    """Wait for whoever computes a frame; returns "found" once it is closed, None where nobody computes it any more.

    Raises:
        ComputeFailed: it failed a moment ago.
    """
    while time.monotonic() < deadline:
        with private.session(alias) as session:
            standing = frames.read(session, [key.digest]).get(key.digest)
            if standing is not None and standing.state != frames.PLANNED and standing.have >= standing.want:
                return "found"
            met = refreshes.standing(session, [key.digest])[str(key.digest)]
        if not met.leased:
            if met.held_back:
                retry_in = met.retry_at - met.now if met.retry_at is not None else None
                raise stored_failure(key, met.last_error, retry_in, met.parked_why)
            return None
        time.sleep(LOOK_SECONDS)
    return None


# -- what else the cache is asked


def refresh(key: Key, primer: TimeFrame) -> Entry:
    """Compute a frame now, as another revision where its value is another. In a transaction that has written, it is
    computed with that one's own truth, not stored, and wanted with the commit.

    Raises:
        NotPrimed: its window is still open, its data is gone, or a newer release computes it.
        ComputeFailed: it failed; what was there stays.
    """
    _refuse(key)
    alias = spread.alias_of(primer)
    refuse_older(key, primer, alias)
    refuse_open(key, primer, alias)
    if _must_be_here(alias):
        entry = _live(key, primer, alias, _read(key, alias))
        _wished(key, primer, primer.priority)
        return entry
    day = 86_400.0
    deadline = time.monotonic() + day
    compute_parts(key, primer, alias, deadline)
    with slots(alias) as session:
        if not frames.ask(session, [key.digest], lane=primer.priority, reason="again"):
            frames.plan(
                session,
                primer.name,
                [planned(primer, key)],
                primer_version=primer.version,
                lane=primer.priority,
                reason="again",
            )
    computed(key, primer, alias, reason="again", force=True, deadline=deadline, wait=day)
    found = _read_anew(key, alias)
    if found is None or not _has_value(primer, alias, found):
        raise NotPrimed(f"{str(key)!r} could not be computed. See: manage.py kck explain {key}")
    return _entry(key, primer, alias, found)


def request(key: Key, primer: TimeFrame, lane: int, reason: str = "again") -> bool:
    """Want a frame computed again, or for the first time, in the queue; in a transaction, with its commit.

    Raises:
        NotPrimed: its window is still open, or its data is gone.
    """
    alias = spread.alias_of(primer)
    refuse_open(key, primer, alias)
    if _wished(key, primer, lane):
        return True
    with slots(alias) as session:
        if frames.ask(session, [key.digest], lane=lane, reason=reason):
            return True
        wanted = [planned(primer, key)]
        version = primer.version
        frames.plan(session, primer.name, wanted, primer_version=version, lane=lane, reason=reason)
    return True


def ask(key: Key, primer: TimeFrame) -> int:
    """Have a frame computed again, in a transaction with its commit; returns 1, or 0 where it has no value yet."""
    alias = spread.alias_of(primer)
    found = frames.read(caller(alias), [key.digest]).get(key.digest)
    if found is None or found.state != frames.CLOSED:
        return 0
    if _wished(key, primer, primer.priority):
        return 1
    with slots(alias) as session:
        return len(frames.ask(session, [key.digest], lane=primer.priority, reason="again"))


def again(primer: TimeFrame, params: dict[str, Any]) -> int:
    """Have the closed frames of a family (with these parameters) computed again, in a transaction with its commit;
    returns how many there are.
    """
    sizes = [params["size"]] if "size" in params else list(primer.sizes)
    args = {name: value for name, value in params.items() if name != "window"}
    told = frames.Told(
        primer.name, frames.BEGINNING, frames.END, primer.longest(), sizes, args, [frames.CLOSED], 0,
        primer.priority, "again",
    )  # fmt: skip
    return len(tell(primer, told))


def tell(primer: TimeFrame, told: frames.Told) -> list[str]:
    """Tell a family something of its frames, in a transaction with its commit; returns their keys, as they are now."""
    alias = spread.alias_of(primer)
    writer = _writer(primer, alias)
    if writer is None:
        with slots(alias) as session:
            keys = frames.tell(session, told)
            if keys:
                waking.soon(session)
        return keys
    _mark(writer, pending.Mark(primer.name, spread.TOLD, None, told.to_json(), reason=told.reason))
    return frames.touched(caller(alias), told)


def wake(primer: TimeFrame) -> None:
    """Have a family's frames planned soon, in a transaction with its commit."""
    alias = spread.alias_of(primer)
    writer = _writer(primer, alias)
    if writer is None:
        with slots(alias) as session:
            frames.wake(session, primer.name)
            waking.soon(session)
        return
    _mark(writer, pending.Mark(primer.name, spread.TOLD, reason="frames"))


def _wished(key: Key, primer: TimeFrame, lane: int) -> bool:
    """Wish for a frame with the commit of the caller's transaction; False where there is none."""
    writer = _writer(primer, spread.alias_of(primer))
    if writer is None:
        return False
    args = args_of(primer, key)
    _mark(
        writer, pending.Mark(primer.name, spread.REFRESH, key, args, source=str(lane), reason=framing.WISHED)
    )
    return True


def _writer(primer: TimeFrame, alias: str) -> str | None:
    """Return the database in which the caller has a transaction open that concerns a family: that of its frames, or
    that of its stream. None: there is no such transaction, or the test's own.
    """
    if private.in_test_case():
        return None
    if context_of(alias) == ATOMIC:
        return alias
    if not any(one.in_atomic_block for one in connections.all(initialized_only=True)):
        return None
    base = primer
    while (below := horizon.base_of(base)) is not None:
        base = below
    of_stream = base.whole_stream().database
    return of_stream if of_stream is not None and context_of(of_stream) == ATOMIC else None


def _mark(writer: str, mark: pending.Mark) -> None:
    """Append a mark to the caller's transaction; where that is in a database without our tables, once it commits."""
    if writer in conf.DATABASES:
        pending.append(caller(writer), [mark])
        waking.soon(caller(writer))
        return

    def appended() -> None:
        alias = conf.DATABASES[0]
        with private_sessions(alias)() as session:
            pending.append(session, [mark])
            waking.soon(session)

    transaction.on_commit(appended, using=writer)


def refuse_by_hand(key: Key) -> None:
    """Raise UnstorableValue: a frame is what its stream holds."""
    raise UnstorableValue(
        f"{str(key)!r} is what its stream holds, and cannot be set: change what is there, and have it computed again "
        f"with manage.py kck refresh {key}."
    )


def is_set(key: Key, primer: TimeFrame) -> bool:
    """Whether a frame has a value."""
    alias = spread.alias_of(primer)
    found = _read(key, alias)
    return found is not None and _has_value(primer, alias, found)


def planned(primer: TimeFrame, key: Key) -> frames.Planned:
    """Return a frame as it is planned."""
    start, end = primer.bounds(key)
    of = primer.series_key(horizon.own_params(primer, key), key.params.get("size", ""))
    return frames.Planned(key, args_of(primer, key), of, start, end)


def slots(alias: str) -> Any:
    """Return a session for statements that never belong in somebody's transaction; in a test, the test's own."""
    return test_sessions(alias)() if private.in_test_case() else private_sessions(alias)()


def private_sessions(alias: str) -> Any:
    """Return the usual way to the store: the cache's own connections, given back between statements."""
    return lambda: private.session(alias, timeout=conf.STATEMENT_TIMEOUT)


def test_sessions(alias: str) -> Any:
    """Return the way to the store inside a ``TestCase``."""
    return lambda: nullcontext(caller(alias))


def series_key(text: str) -> tuple[TimeFrame, dict[str, Any], str]:
    """Return (family, own parameters, size) of a key, or of what stands before its window, and before its size.

    Raises:
        InvalidKey: it is neither.
    """
    primer = registry.primer(keys.base_of(text))
    assert isinstance(primer, TimeFrame)
    if isinstance(text, Key) and "window" in text.params:
        return primer, horizon.own_params(primer, text), text.params.get("size") or next(iter(primer.sizes))
    own, sized = primer.own_parameters, primer.parameters[:-1]
    first: InvalidKey | None = None
    for parameters in (own, sized, primer.parameters):
        try:
            found = keys.parse(str(text), parameters)
        except InvalidKey as error:
            first = first or error
            continue
        size = found.params.get("size") or next(iter(primer.sizes))
        return primer, {one.name: found.params[one.name] for one in own}, size
    assert first is not None
    raise first


def series(text: str, start: datetime, end: datetime, by: Any, facet: str | None) -> list[Point]:
    """Return the frames that begin in ``[start, end)``, oldest first; see ``Cache.series``.

    Raises:
        ValueError: there is no such size, or a facet was given.
    """
    primer, params, size = series_key(text)
    if facet is not None:
        raise ValueError(f"{primer.name!r} is a time frame, and has no facet {facet!r}.")
    if by is not None:
        size = _size_of(primer, by)
    window = primer.sizes[size]
    begins = window.start_of(start)
    if begins < start:
        begins = window.after(begins)
    of, alias = primer.series_key(params, size), spread.alias_of(primer)
    session = caller(alias)
    until = end + primer.length(size) * 2
    held = {
        one.start: one
        for one in frames.series(session, of, begins, until, primer.codec.decode, primer.record_model)
        if one.there and one.start < end
    }
    if frame.current() is not None:
        _note_series(primer, of, begins, until, {at: one.revision for at, one in held.items()})
    points = []
    while begins < end:
        one = held.get(begins)
        over = primer.end_of(size, begins)
        points.append(
            Point(begins, over, one.value if one is not None else None, one is not None and one.complete)
        )
        begins = window.after(begins)
    return points


def _note_series(
    primer: TimeFrame, of: Key, start: datetime, end: datetime, seen: dict[datetime, int]
) -> None:
    kept = copy.copy(seen)

    def moved(session: Session) -> bool:
        rows = frames.series(session, of, start, end, primer.codec.decode, primer.record_model)
        return {one.start: one.revision for one in rows if one.start in kept or one.there} != kept

    frame.note_counted(of, moved)


def _size_of(primer: TimeFrame, by: Any) -> str:
    if by in primer.sizes:
        return str(by)
    for name, window in primer.sizes.items():
        if window.size == by and primer.hop is None:
            return name
    names = ", ".join(name for name in primer.sizes if name) or repr(primer.duration)
    raise ValueError(f"{primer.name!r} has no frames of the size {by!r}. It has: {names}.")


def told(key: Key, primer: TimeFrame) -> dict[str, Any]:
    """Return what ``explain`` tells of a frame."""
    alias = spread.alias_of(primer)
    found = _read(key, alias)
    start, end = primer.bounds(key)
    about: dict[str, Any] = {"start": start, "end": end}
    if found is None:
        try:
            refuse_open(key, primer, alias)
            cause = "not planned yet: the next planning does that, or whoever reads it computes it"
        except KckFlowError as error:
            cause = str(error)
        return {"state": "empty", "cause": cause, "value": None, "frame": about}
    about |= {
        "state": found.state, "items": found.items, "late": found.late, "revision": found.revision,
        "complete": found.complete, "primer_version": found.primer_version, "cleaned_at": found.cleaned_at,
        "cleanup_error": found.cleanup_error,
    }  # fmt: skip
    with_value = _has_value(primer, alias, found)
    if found.state == frames.SKIPPED:
        state, cause = "empty", f"skipped: {found.reason}"
    elif found.state == frames.PLANNED or not with_value:
        state, cause = "empty", "planned, and not computed yet"
    elif found.want > found.have or found.told:
        state, cause = "stale", "to be computed again: something came late, or it was asked for"
    else:
        state, cause = "fresh", "closed"
        if not found.complete:
            cause += "; its source did not have all of it"
    paused = families.paused(caller(alias))
    if primer.name in paused and state != "fresh":
        cause += "; its family is paused"
    value = _value(primer, alias, found) if with_value else None
    return {
        "state": state, "cause": cause, "value": value, "version": found.revision, "computed_at": found.closed_at,
        "frame": about,
    }  # fmt: skip
