"""Cache.get, and nothing else.

One read statement on the caller's connection decides (``core.md`` §1): its snapshot, its uncommitted work, no
extra connection. What cannot be served is computed elsewhere and joined; inside a transaction that has
written it is computed here, in a savepoint, and not stored; inside a ``TestCase`` everything happens on the
test's own connection.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

from django.db import Error as DatabaseErrors
from django.db import InterfaceError, OperationalError

from .. import spread
from ..conf import conf
from ..entry import Entry
from ..errors import (
    ComputeFailed,
    HookFailed,
    KckFlowError,
    NotPrimed,
    StoreUnavailable,
    UnknownPrimer,
    UnstorableValue,
    WaitTimeout,
    ones_own,
)
from ..key import INTERNAL, Key
from ..primer import LONGEST, Primer
from ..process import Process
from ..registry import registry
from ..store import pending, private, products, refreshes
from ..store.products import Stored
from ..store.session import caller, loads
from ..storing import args_of
from ..timeframe import TimeFrame
from ..topic import Topic
from . import behind, compute, counted, flight, flows, frame, framed, processes, reach, tallies, tier, topics
from .compute import Computation, Outcome
from .context import ATOMIC, OPEN, TEST, context_of, is_dirty
from .verdict import FRESH, MISSING, STALE, entry_of, judge, within_policy
from .verdict import state as state_of

logger = logging.getLogger("kck_flow")


class _Raise:
    def __repr__(self) -> str:
        return "RAISE"


RAISE: Final[Any] = _Raise()

NEVER_STORED: Final = -1


@dataclass(slots=True)
class Ask:
    """One question of a caller: how it may be answered. Durations are seconds."""

    prime: bool | None
    wait: float | None
    max_age: float | None


def get(
    key: str,
    default: Any = RAISE,
    *,
    prime_on_cache_miss: bool | None = None,
    wait: Any = None,
    max_age: Any = None,
) -> Any:
    """Return a product's value; see ``Cache.get``."""
    found = registry.key(key)
    of_stock = counted.counted(found)
    if of_stock is not None:
        held = counted.entry(
            found,
            *of_stock,
            prime=_flag(prime_on_cache_miss),
            default=default is not RAISE,
            patient=not boarding.get(),
        )
        tallies.note(spread.alias_of(of_stock[0]), found.key_base, tallies.FRESH)
        return held.value if held is not None else default
    flow = flows.counted(found)
    if flow is not None:
        tallies.note(spread.alias_of(flow), found.key_base, tallies.FRESH)
        return flows.entry(found, flow).value
    process = registry.primers.get(found.key_base)
    if isinstance(process, Process):
        return processes.entry(found, process).value
    if isinstance(process, TimeFrame):
        ask = Ask(_flag(prime_on_cache_miss), seconds(wait), None)
        return _framed(found, process, ask, default, value_only=True)
    if max_age is None and wait is None and frame.current() is None:  # a compute notes what it reads
        primer = registry.primers.get(found.key_base)
        if conf.TIER_SECONDS:
            hit = tier.get(found)
            if hit is not tier.MISS:
                tallies.note(spread.alias_of(primer), found.key_base, tallies.FRESH)
                return hit
        elif primer is not None and not primer.always_fresh:
            # The common case, alone. Where the tier is on, the long way knows until when it may hold a value.
            alias = spread.alias_of(primer)
            text = _fresh(found, primer, alias)
            if text is not None:
                tallies.note(alias, found.key_base, tallies.FRESH)
                if primer.max_entries is not None:
                    behind.note_read(found, alias)
                return primer.codec.decode(text)
    ask = Ask(_flag(prime_on_cache_miss), seconds(wait), seconds(max_age))
    try:
        return answer(found, ask, value_only=True)
    except NotPrimed:
        if default is not RAISE:
            return default
        raise


def get_entry(
    key: str,
    default: Any = RAISE,
    *,
    prime_on_cache_miss: bool | None = None,
    wait: Any = None,
    max_age: Any = None,
) -> Entry:
    """Return a product's entry; see ``Cache.get_entry``."""
    ask = Ask(_flag(prime_on_cache_miss), seconds(wait), seconds(max_age))
    found = registry.key(key)
    of_stock = counted.counted(found)
    if of_stock is not None:
        held = counted.entry(
            found, *of_stock, prime=ask.prime, default=default is not RAISE, patient=not boarding.get()
        )
        return held if held is not None else empty(found, default)
    flow = flows.counted(found)
    if flow is not None:
        return flows.entry(found, flow)
    process = registry.primers.get(found.key_base)
    if isinstance(process, Process):
        return processes.entry(found, process)
    if isinstance(process, TimeFrame):
        held_frame: Entry = _framed(found, process, ask, default, value_only=False)
        return held_frame
    try:
        entry: Entry = answer(found, ask, value_only=False)
        return entry
    except NotPrimed:
        if default is not RAISE:
            return empty(found, default)
        raise


def _framed(key: Key, primer: TimeFrame, ask: Ask, default: Any, *, value_only: bool) -> Any:
    """Return a time frame, or its value."""
    try:
        held = framed.entry(key, primer, prime=ask.prime, wait=ask.wait, patient=not boarding.get())
    except framed.UnderWay as away:
        boarded = Boarded(away.trip, away.trip.answers)
        boarded.conclude = partial(_arrived, away.trip, default, value_only)
        raise boarded from None
    except NotPrimed:
        if default is RAISE:
            raise
        return default if value_only else empty(key, default)
    return held.value if value_only else held


def _arrived(trip: framed.Trip, default: Any, value_only: bool, outcome: Outcome) -> Any:
    """Return the frame that has been made meanwhile, or raise what came of it instead."""
    if isinstance(outcome.error, NotPrimed) and default is not RAISE:
        return default if value_only else empty(trip.key, default)
    if outcome.error is not None:
        raise ones_own(outcome.error)
    return trip.entry().value if value_only else trip.entry()


def empty(key: Key, value: Any = None) -> Entry:
    """Return the entry of a product that has none."""
    return Entry(str(key), value, 0, None, None, None, "empty", None)


def seconds(duration: Any) -> float | None:
    if duration is None:
        return None
    number = duration.total_seconds() if isinstance(duration, timedelta) else duration
    # Not "below 0": what is no number compares with none.
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not number >= 0:
        raise ValueError(f"A duration is a timedelta, or seconds of zero or more, not {duration!r}.")
    return min(float(number), LONGEST.total_seconds())


def _flag(prime: Any) -> bool | None:
    if prime is not None and not isinstance(prime, bool):
        raise ValueError(f"prime_on_cache_miss is True, False or None, not {prime!r}.")
    return prime


# -- one product
# ------------------------------------------------------------------------------------------------------


def answer(key: Key, ask: Ask, *, value_only: bool) -> Any:
    primer = registry.primers.get(key.key_base)
    alias = spread.alias_of(primer)
    here = frame.current()
    if here is not None:
        here.refuse(key)  # before we would wait for a flight that waits for us
    if here is not None and ask.max_age is None:
        hint = here.hints.get(key)
        if hint is not None and hint.entry is not None:
            frame.note(key, hint.entry.version or None, hint.epoch)
            return (
                _copied(primer, hint.text)
                if value_only
                else _with_value(hint.entry, _copied(primer, hint.text))
            )
    deadline: float | None = None
    # A read that finds the product on the move asks again, until there is something to serve or the wait is
    # over.
    while True:
        context = context_of(alias)
        stored = _read(key, primer, alias, context)
        if stored is not None and key.key_base.startswith(INTERNAL):
            raise UnknownPrimer(registry.unknown(key.key_base))
        verdict, text = judge(primer, key, stored, ask.max_age)
        if verdict is not MISSING:
            assert stored is not None
            return serve(key, primer, alias, context, stored, text, verdict, value_only)
        if primer is None:
            _note_absent(key, stored)
            raise _unknown_or_unset(key, stored)
        topic = topics.fed(key)
        if topic is not None:
            _note_absent(key, stored)
            untouched = topics.untouched(key, topic)
            return untouched.value if value_only else untouched
        may_prime = primer.prime_on_cache_miss if ask.prime is None else ask.prime
        if not may_prime:
            _note_absent(key, stored)
            raise NotPrimed(
                f"{str(key)!r} is not primed, and this call may not compute it. Run: manage.py kck refresh {key}"
            )
        if deadline is None:
            deadline = time.monotonic() + (
                ask.wait if ask.wait is not None else primer.wait_seconds(conf.WAIT)
            )
        try:
            outcome = _compute_missing(key, primer, alias, context, stored, deadline, ask)
        except WaitTimeout as error:
            return _last_good(key, primer, stored, error, ask, value_only)
        except Boarded as boarded:
            boarded.conclude = partial(conclude, key, primer, stored, ask, value_only)
            raise
        if outcome is not None:
            return conclude(key, primer, stored, ask, value_only, outcome)


def conclude(
    key: Key, primer: Primer, stored: Stored | None, ask: Ask, value_only: bool, outcome: Outcome
) -> Any:
    if outcome.error is not None:
        return _last_good(key, primer, stored, outcome.error, ask, value_only)
    tallies.note(spread.alias_of(primer), key.key_base, tallies.MISSED)
    return _deliver(key, primer, outcome, value_only)


class Boarded(Exception):
    """An async read has found a miss: a flight is under way, and asyncio may wait for it.

    Attributes:
        joined: The flight.
        answers: Whether its outcome is for this reader, who otherwise looks again when it is over.
        conclude: Turns an outcome into the answer, or its error.
    """

    def __init__(self, joined: flight.Flight, answers: Callable[[Outcome], bool]) -> None:
        self.joined, self.answers = joined, answers
        self.conclude: Callable[[Outcome], Any] | None = None

    def concluded(self, landed: Outcome) -> Any:
        """Return the answer that an outcome makes, or raise its error."""
        assert self.conclude is not None
        return self.conclude(landed)


# Set while an async twin asks: the thread that all sync code shares must not wait for a computation.
boarding: ContextVar[bool] = ContextVar("kck_flow_boarding", default=False)


def _fresh(key: Key, primer: Primer, alias: str) -> str | None:
    """Return the value text of a product that may be served as it is; None where the long way must decide."""
    session = caller(alias)
    if reach.is_lost(alias):
        return None
    try:
        with reach.bounded(session.connection):
            return products.fresh(session, key, primer.version, probe=primer.probes or primer.name in sourced)
    except (OperationalError, InterfaceError):
        if session.connection.in_atomic_block:
            raise
        return None  # the long way reconnects, or says what is wrong


def get_plain(key: Key, known: str = "") -> products.Plain | None:
    """Return the plain JSON of a stored product and what is known of it, without making a value of it.

    Args:
        known: A stamp that the caller has: of the same, the text is not read.

    Returns:
        None where ``get_entry`` has to answer: it is no stored product, is not fresh, or plain people see another face
        of it than what is stored.
    """
    primer = registry.primers.get(key.key_base)
    if primer is None or primer.always_fresh or primer.codec is not Primer.codec or primer.shows_otherwise:
        return None
    if isinstance(primer, (Process, TimeFrame)) or frame.current() is not None:
        return None
    if counted.counted(key) is not None or flows.counted(key) is not None:
        return None
    alias = spread.alias_of(primer)
    session = caller(alias)
    if reach.is_lost(alias):
        return None
    try:
        with reach.bounded(session.connection):
            found = products.fresh_plain(
                session, key, primer.version, probe=primer.probes or primer.name in sourced, known=known
            )
    except (OperationalError, InterfaceError):
        if session.connection.in_atomic_block:
            raise
        return None  # the long way reconnects, or says what is wrong
    if found is not None:
        tallies.note(alias, key.key_base, tallies.FRESH)
        if primer.max_entries is not None:
            behind.note_read(key, alias)
    return found


def _read(key: Key, primer: Primer | None, alias: str, context: str) -> Stored | None:
    probe = primer is None or primer.probes or primer.name in sourced

    def ask(probe: bool) -> Stored | None:
        augments = primer is not None and primer.augments
        limit = conf.PENDING_LIMIT
        return products.read(
            caller(alias), key.digest, probe=probe, changes=augments, dirty=context == ATOMIC, limit=limit
        )

    stored = reach.once_more(alias, context == OPEN, str(key), lambda: ask(probe))
    if stored is not None and stored.sourced and not probe and primer is not None:
        # A compute of this family reads other products: from now on its reads look for changes on their way.
        sourced.add(primer.name)
        stored = ask(True)
    if stored is not None and context == TEST:
        stored.dirty = True  # in a test, too, what the transaction has changed is seen at once
    return stored


sourced: set[str] = set()


def serve(
    key: Key,
    primer: Primer | None,
    alias: str,
    context: str,
    stored: Stored,
    text: str | None,
    verdict: str,
    value_only: bool,
) -> Any:
    if primer is not None:
        tallies.note(alias, key.key_base, tallies.STALE if verdict == STALE else tallies.FRESH)
        if primer.max_entries is not None:
            behind.note_read(key, alias)
    waiting = 0
    if stored.changes is not None:
        waiting = len(loads(stored.changes))
    if isinstance(primer, Topic):
        pass  # what older code has made of its messages stays until they are handled again
    elif primer is not None and context != TEST:
        if verdict == STALE:
            behind.refresh(primer, key, alias, stored)
        elif waiting > conf.PENDING_FOLD:
            behind.fold(primer, key, alias)
    elif verdict == STALE and primer is not None:
        behind.request_in_test(primer, key, alias)
    codec = primer.codec if primer is not None else _codec_of_general()
    value = codec.decode(text) if text is not None else None
    here = frame.current()
    if here is None and value_only:
        if verdict == FRESH and conf.TIER_SECONDS and context == OPEN and stored.changes is None:
            tier.put(key, value, stored.hard_expires_at, stored.soft_expires_at, stored.now)
        return value
    state: Any = verdict
    if verdict == STALE and not value_only and primer is not None:
        state = _stale_state(key, alias, context)
    entry = entry_of(key, stored, value, state)
    if here is not None:
        frame.note(key, stored.version, stored.epoch)
        if verdict == FRESH:
            here.hints.set(key, entry, text, stored.now, stored.epoch)
    return value if value_only else entry


def _stale_state(key: Key, alias: str, context: str) -> str:
    """A stale value's entry says whether a refresh is under way, or failed."""
    try:
        with _looking(alias, context) as session:
            standing = refreshes.standing(session, [key.digest])[str(key.digest)]
    except (private.Busy, DatabaseErrors):
        return STALE
    parked = bool(standing.parked_why)
    return state_of(
        served=True,
        stale=True,
        running=standing.leased,
        attempts=standing.attempts or 0,
        waits=parked or (standing.retry_at is not None and standing.retry_at > standing.now),
    )


def _looking(alias: str, context: str) -> Any:
    return nullcontext(caller(alias)) if context != ATOMIC else private.session(alias)


def _codec_of_general() -> Any:
    return Primer.codec


def _copied(primer: Primer | None, text: str | None) -> Any:
    codec = primer.codec if primer is not None else _codec_of_general()
    return codec.decode(text) if text is not None else None


def _with_value(entry: Entry, value: Any) -> Entry:
    return Entry(
        entry.key,
        value,
        entry.version,
        entry.computed_at,
        entry.soft_expires_at,
        entry.hard_expires_at,
        entry.state,
        entry.age,
    )


def _note_absent(key: Key, stored: Stored | None) -> None:
    """A compute that finds nothing depends on there being nothing: it may go on with a default."""
    if stored is None:
        frame.note(key, 0)
    else:
        frame.note(key, stored.version, stored.epoch)


def _unknown_or_unset(key: Key, stored: Stored | None) -> KckFlowError:
    if stored is None:
        return UnknownPrimer(registry.unknown(key.key_base))
    if stored.state == "unset":
        return NotPrimed(
            f"{str(key)!r} was unset, and no primer computes it. Set it again: manage.py kck set {key} VALUE"
        )
    return NotPrimed(
        f"{str(key)!r} is past its hard expiry or invalidated, and no primer computes it. "
        f"Set it again: manage.py kck set {key} VALUE"
    )


# -- a miss
# -----------------------------------------------------------------------------------------------------------


def _compute_missing(
    key: Key, primer: Primer, alias: str, context: str, stored: Stored | None, deadline: float, ask: Ask
) -> Outcome | None:
    """Return the outcome of computing a product that cannot be served, or None: look again."""
    if context == TEST:
        return in_test(primer, key, alias)
    if _must_be_here(primer, alias, context):
        return _held_back(primer, key, alias, stored) or compute.compute_live(primer, key, alias)
    here = frame.current()
    remaining = deadline - time.monotonic()
    not_before = stored.now - ask.max_age if stored is not None and ask.max_age is not None else None
    joined, new = flight.board(
        primer, key, alias, reason="miss", wait=max(remaining, 0), not_before=not_before
    )
    answers = for_reader(joined, new, stored, alias, not_before)
    if here is not None and answers is not None:
        # Inside a compute: this thread carries it out, or the pool's threads could all wait for one another.
        flight.carry(joined)
    elif new:
        flight.depart(joined)
        behind.tidy(alias)
    if boarding.get() and here is None and context == OPEN:
        raise Boarded(joined, answers or never)
    if context == ATOMIC and not joined.claimed.wait(conf.CLAIM_TIMEOUT):
        return compute.compute_live(primer, key, alias)
    outcome = flight.wait_for(
        joined, remaining, primer.wait_seconds(conf.WAIT) if ask.wait is None else ask.wait
    )
    if joined.busy and context == ATOMIC:
        return compute.compute_live(primer, key, alias)
    if (answers is not None and answers(outcome)) or (answers is not None and time.monotonic() >= deadline):
        return outcome
    return None


def _must_be_here(primer: Primer, alias: str, context: str) -> bool:
    """Whether only the caller's own connection shows the truth: nothing computed there may be stored."""
    here = frame.current()
    if here is not None and (here.inline or here.snapshot):
        return True
    if here is not None and context == ATOMIC and primer.augments:
        return True  # its snapshot wants a transaction of its own, and the compute around it has opened one
    return is_dirty(alias)


def _held_back(primer: Primer, key: Key, alias: str, stored: Stored | None) -> Outcome | None:
    """Return the failure of a moment ago; None where there was none, or the caller has changed a source since."""
    session = caller(alias)
    standing = refreshes.standing(session, [key.digest])[str(key.digest)]
    if not standing.held_back:
        return None
    if stored.pending if stored is not None else pending.marks(session, key, args_of(primer, key)):
        return None
    return flight.failed(key, primer, standing)


def for_reader(
    joined: flight.Flight, new: bool, stored: Stored | None, alias: str, not_before: float | None = None
) -> Callable[[Outcome], bool] | None:
    """Return what tells whether a flight's outcome is for this reader; None where it cannot be.

    It cannot be where the flight began before something that this reader has seen. A value that others stored is
    looked at again where more may be on its way to it, or where it is older than this reader wants.
    """
    if not new and not _may_join(joined, stored, alias):
        return None

    def answers(outcome: Outcome) -> bool:
        if joined.busy:
            return False
        if outcome.kind != "found" or outcome.stored is None:
            return True
        too_old = not_before is not None and outcome.stored.computed_at < not_before
        return not too_old and not joined.primer.augments

    return answers


def never(outcome: Outcome) -> bool:
    return False


def _may_join(joined: flight.Flight, stored: Stored | None, alias: str) -> bool:
    """Whether a flight began after everything that this reader has seen."""
    if joined.seen is None:
        return (
            True  # it has not begun; or somebody else computes, and what was changed since is looked at then
        )
    if stored is not None:
        on_its_way = stored.pending or stored.changes is not None
        return not on_its_way and joined.joinable(stored.version, stored.epoch)
    if not joined.joinable(0, 0):
        return False
    # Without a row nothing could be invalidated: the marks are all that tells.
    marks = pending.marks(caller(alias), joined.key, args_of(joined.primer, joined.key))
    return marks <= set(joined.seen.family_pending or ())


def in_test(
    primer: Primer, key: Key, alias: str, *, force: bool = False, hook: str = "prime", reason: str = "miss"
) -> Outcome:
    """Compute and store on the test's own connection: the same statements, and everything vanishes with the
    test.
    """
    session = caller(alias)

    def sessions() -> Any:
        return nullcontext(session)

    with session.transaction():
        args = args_of(primer, key)
        session.run(
            "UPDATE kck_refresh SET lease_until = NULL WHERE digest = %s", [key.digest]
        )  # leases are ignored here
        claim = refreshes.claim(
            session, key, args, lease=3600, owner="test", limit=None, reason=reason, force=force
        )
        if claim is None:
            return flight.failed(key, primer, refreshes.standing(session, [key.digest])[str(key.digest)])
    computation = Computation(primer, key, claim, alias, sessions, own_thread=False, hook=hook, watched=False)
    return computation.carry_out()


def _deliver(key: Key, primer: Primer, outcome: Outcome, value_only: bool) -> Any:
    if primer.max_entries is not None:
        behind.note_read(key, spread.alias_of(primer))
    value = outcome.value()
    here = frame.current()
    if here is not None and outcome.stored is not None:
        # Stored as no longer servable: something that it was made from is about to change, or has.
        frame.note(key, NEVER_STORED if outcome.stored.invalid else outcome.stored.version, outcome.epoch)
        if not outcome.stored.stale:
            here.hints.set(key, outcome.entry(), outcome.text, outcome.now, outcome.epoch)
    elif here is not None:
        # What was refused was old when it was delivered: no version that is stored is the one that was read.
        frame.note(key, None if outcome.kind == "live" else NEVER_STORED)
    return value if value_only else outcome.entry()


def _last_good(
    key: Key, primer: Primer, stored: Stored | None, error: BaseException, ask: Ask, value_only: bool
) -> Any:
    """The computation failed, or the wait is over: the last good value where policy allows, else the error."""
    tallies.note(spread.alias_of(primer), key.key_base, tallies.FAILED)
    policy = isinstance(error, (ComputeFailed, StoreUnavailable, UnstorableValue, HookFailed, WaitTimeout))
    if policy and stored is not None and within_policy(primer, stored, ask.max_age):
        logger.info("served.last_good key=%s error=%s", key, error)
        value = _copied(primer, stored.value)
        frame.note(key, stored.version, stored.epoch)
        state = "stale" if isinstance(error, WaitTimeout) else "failed"
        return value if value_only else entry_of(key, stored, value, state)
    _note_absent(key, stored)
    raise ones_own(error)
