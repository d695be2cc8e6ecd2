"""Cache.get, and nothing else.

One read statement on the caller's connection decides (``core.md`` §1): its snapshot, its uncommitted work, no
extra connection. What cannot be served is computed elsewhere and joined; inside a transaction that has
written it is computed here, in a savepoint, and not stored; inside a ``TestCase`` everything happens on the
test's own connection.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final, TypeVar
from uuid import UUID

from django.db import Error as DatabaseErrors
from django.db import InterfaceError, OperationalError, connections

from .. import clock, spread
from ..changes import fold
from ..conf import conf
from ..entry import Entry
from ..errors import (
    ComputeFailed,
    HookFailed,
    KckFlowError,
    NotPrimed,
    SomeFailed,
    StoreUnavailable,
    UnknownPrimer,
    UnstorableValue,
    WaitTimeout,
    ones_own,
)
from ..key import INTERNAL, Key
from ..primer import Primer
from ..registry import registry
from ..store import pending, private, products, refreshes
from ..store.products import Stored
from ..store.refreshes import instant
from ..store.session import Session, caller, loads
from ..storing import args_of, encode
from . import behind, compute, flight, frame, reach, tier
from .compute import Computation, Outcome

logger = logging.getLogger("kck_flow")


class _Raise:
    def __repr__(self) -> str:
        return "RAISE"


RAISE: Final[Any] = _Raise()

OPEN, ATOMIC, TEST = "open", "atomic", "test"
FRESH, STALE, MISSING = "fresh", "stale", "missing"
# In a clean transaction, how long a claim may take before the caller computes by itself.
_LOCAL: Final = "local"


@dataclass(slots=True)
class Ask:
    """One question of a caller: how it may be answered. Durations are seconds."""

    prime: bool | None
    wait: float | None
    max_age: float | None


def context_of(alias: str) -> str:
    """Return where the caller stands: ``open`` (autocommit), ``atomic`` (clean or dirty) or ``test``."""
    connection = connections[alias]
    if not connection.in_atomic_block:
        return OPEN if connection.autocommit or connection.connection is None else ATOMIC
    return TEST if private.in_test_case() else ATOMIC


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
    if max_age is None and wait is None and frame.current() is None:  # a compute notes what it reads
        primer = registry.primers.get(found.key_base)
        if conf.TIER_SECONDS:
            hit = tier.get(found)
            if hit is not tier.MISS:
                return hit
        elif primer is not None and not primer.always_fresh:
            # The common case, alone. Where the tier is on, the long way knows until when it may hold a value.
            text = _fresh(found, primer, spread.alias_of(primer))
            if text is not None:
                return primer.codec.decode(text)
    ask = Ask(prime_on_cache_miss, _seconds(wait), _seconds(max_age))
    try:
        return _answer(found, ask, value_only=True)
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
    ask = Ask(prime_on_cache_miss, _seconds(wait), _seconds(max_age))
    try:
        entry: Entry = _answer(registry.key(key), ask, value_only=False)
        return entry
    except NotPrimed:
        if default is not RAISE:
            return empty(registry.key(key), default)
        raise


def empty(key: Key, value: Any = None) -> Entry:
    """Return the entry of a product that has none."""
    return Entry(str(key), value, 0, None, None, None, "empty", None)


def _seconds(duration: Any) -> float | None:
    if duration is None:
        return None
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, bool) or not isinstance(duration, (int, float)) or duration < 0:
        raise ValueError(f"A duration is a timedelta, or seconds of zero or more, not {duration!r}.")
    return float(duration)


# -- one product
# ------------------------------------------------------------------------------------------------------


def _answer(key: Key, ask: Ask, *, value_only: bool) -> Any:
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
            return _serve(key, primer, alias, context, stored, text, verdict, value_only)
        if primer is None:
            _note_absent(key, stored)
            raise _unknown_or_unset(key, stored)
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
            boarded.conclude = partial(_conclude, key, primer, stored, ask, value_only)
            raise
        if outcome is not None:
            return _conclude(key, primer, stored, ask, value_only, outcome)


def _conclude(
    key: Key, primer: Primer, stored: Stored | None, ask: Ask, value_only: bool, outcome: Outcome
) -> Any:
    if outcome.error is not None:
        return _last_good(key, primer, stored, outcome.error, ask, value_only)
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
            return products.fresh(
                session, key, primer.version, probe=primer.probes or primer.name in _sourced
            )
    except (OperationalError, InterfaceError):
        if session.connection.in_atomic_block:
            raise
        return None  # the long way reconnects, or says what is wrong


def _read(key: Key, primer: Primer | None, alias: str, context: str) -> Stored | None:
    probe = primer is None or primer.probes or primer.name in _sourced

    def ask(probe: bool) -> Stored | None:
        augments = primer is not None and primer.augments
        limit = conf.PENDING_LIMIT
        return products.read(
            caller(alias), key.digest, probe=probe, changes=augments, dirty=context == ATOMIC, limit=limit
        )

    stored = _once_more(alias, context, str(key), lambda: ask(probe))
    if stored is not None and stored.sourced and not probe and primer is not None:
        # A compute of this family reads other products: from now on its reads look for changes on their way.
        _sourced.add(primer.name)
        stored = ask(True)
    if stored is not None and context == TEST:
        stored.dirty = True  # in a test, too, what the transaction has changed is seen at once
    return stored


T = TypeVar("T")
NEVER_STORED: Final = -1


def _once_more(alias: str, context: str, what: str, ask: Callable[[], T]) -> T:
    """Ask the database; on a connection that has gone, perhaps only the connection, once more on a new one."""
    connection = connections[alias]
    if context == OPEN and reach.is_lost(alias):
        reach.look(alias)
    try:
        with reach.bounded(connection):
            return ask()
    except (OperationalError, InterfaceError) as error:
        if context != OPEN:
            raise
        connection.close()
        reach.look(alias, error)
        try:
            return ask()
        except DatabaseErrors:
            connection.close()
            raise StoreUnavailable(f"The database did not answer for {what!r}: {error}".strip()) from error


_sourced: set[str] = set()


def judge(
    primer: Primer | None, key: Key, stored: Stored | None, max_age: float | None = None
) -> tuple[str, str | None]:
    """Return (fresh, stale or missing; the value's text with what is on its way folded in)."""
    if stored is None or stored.state == "unset":
        return MISSING, None
    now = clock.now().timestamp() if clock.is_moved() else stored.now
    if stored.invalid or (stored.hard_expires_at is not None and now >= stored.hard_expires_at):
        return MISSING, None
    if primer is not None and (stored.primer_version != primer.version or primer.always_fresh):
        return MISSING, None
    if stored.pending == 2 or (stored.pending and stored.dirty):
        return MISSING, None
    if max_age is not None and (stored.computed_at is None or now - stored.computed_at > max_age):
        return MISSING, None
    text = stored.value
    if stored.changes is not None and primer is not None:
        waiting = loads(stored.changes)
        if len(waiting) > conf.PENDING_LIMIT:
            return MISSING, None
        changes = fold.fresh_changes(waiting)
        try:
            value = fold.apply(primer, key, text, changes)
            text, state = encode(primer, primer.codec, value)
            stored.state = state
        except Exception as error:
            logger.warning("augment.failed key=%s error=%r", key, error)
            return MISSING, None
        stored.value = text
    if stored.pending == 1 or (stored.soft_expires_at is not None and now >= stored.soft_expires_at):
        return STALE, text
    return FRESH, text


def _serve(
    key: Key,
    primer: Primer | None,
    alias: str,
    context: str,
    stored: Stored,
    text: str | None,
    verdict: str,
    value_only: bool,
) -> Any:
    waiting = 0
    if stored.changes is not None:
        waiting = len(loads(stored.changes))
    if primer is not None and context != TEST:
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


def entry_of(key: Key, stored: Stored, value: Any, state: Any) -> Entry:
    """Return the entry of a stored product."""
    now = clock.now().timestamp() if clock.is_moved() else stored.now
    age = timedelta(seconds=max(now - stored.computed_at, 0)) if stored.computed_at is not None else None
    return Entry(
        str(key),
        value,
        stored.version,
        instant(stored.computed_at),
        instant(stored.soft_expires_at),
        instant(stored.hard_expires_at),
        state,
        age,
    )


def _stale_state(key: Key, alias: str, context: str) -> str:
    """A stale value's entry says whether a refresh is under way, or failed."""
    try:
        with _looking(alias, context) as session:
            standing = refreshes.standing(session, [key.digest])[str(key.digest)]
    except (private.Busy, DatabaseErrors):
        return STALE
    if standing.leased:
        return "computing"
    if standing.attempts and (
        standing.parked_why or (standing.retry_at is not None and standing.retry_at > standing.now)
    ):
        return "failed"
    return STALE


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
    answers = _answers(joined, new, stored, alias, not_before)
    if here is not None and answers is not None:
        # Inside a compute: this thread carries it out, or the pool's threads could all wait for one another.
        flight.carry(joined)
    elif new:
        flight.depart(joined)
        behind.tidy(alias)
    if boarding.get() and here is None and context == OPEN:
        raise Boarded(joined, answers or _never)
    if context == ATOMIC and not joined.claimed.wait(conf.CLAIM_TIMEOUT):
        return compute.compute_live(primer, key, alias)
    outcome = flight.wait_for(joined, remaining)
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


def _answers(
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


def _never(outcome: Outcome) -> bool:
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


def is_dirty(alias: str) -> bool:
    """Whether the caller's transactions, here or in another database, have written, or look at a snapshot of
    their own.
    """
    for connection in connections.all(initialized_only=True):
        if connection.connection is None or (not connection.in_atomic_block and connection.autocommit):
            continue
        if connection.vendor != "postgresql":
            return True
        if Session(connection).run(f"SELECT {products._DIRTY}")[0][0]:
            return True
    return False


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
    value = outcome.value()
    here = frame.current()
    if here is not None and outcome.stored is not None:
        frame.note(key, outcome.stored.version, outcome.epoch)
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
    policy = isinstance(error, (ComputeFailed, StoreUnavailable, UnstorableValue, HookFailed, WaitTimeout))
    if policy and stored is not None and _within_policy(primer, stored, ask):
        logger.info("served.last_good key=%s error=%s", key, error)
        value = _copied(primer, stored.value)
        frame.note(key, stored.version, stored.epoch)
        state = "stale" if isinstance(error, WaitTimeout) else "failed"
        return value if value_only else entry_of(key, stored, value, state)
    raise ones_own(error)


def _within_policy(primer: Primer, stored: Stored, ask: Ask) -> bool:
    """Whether the value that could not be refreshed may be served all the same."""
    if stored.state == "unset" or stored.primer_version != primer.version:
        return False
    now = clock.now().timestamp() if clock.is_moved() else stored.now
    since = [at for at in (stored.hard_expires_at, stored.invalid_since) if at is not None and at <= now]
    allowance = primer.stale_if_error.total_seconds()
    if since:
        return now < min(since) + allowance
    if ask.max_age is not None and not primer.always_fresh and not stored.pending:
        return True  # only this caller found it too old
    return allowance > 0


# -- many products
# ----------------------------------------------------------------------------------------------------


def get_many(keys: Iterable[str], errors: str = "raise") -> dict[str, Any]:
    """Return many products; see ``Cache.get_many``."""
    asked, landed = list(keys), Landed()
    while True:
        try:
            return try_many(asked, errors, landed)
        except ManyBoarded as boarded:
            for joined, answers in boarded.flights:
                joined.done.wait(landed.patience(joined))
                landed.take(joined, answers)


class Landed:
    """What the misses of one ``get_many`` came to: all fly side by side, and each waits from the same beginning."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self.outcomes: dict[Key, Outcome] = {}

    def patience(self, joined: flight.Flight) -> float:
        """Return how many seconds the caller still waits for a flight."""
        return max(self._begun + joined.primer.wait_seconds(conf.WAIT) - time.monotonic(), 0)

    def take(self, joined: flight.Flight, answers: Callable[[Outcome], bool]) -> None:
        """Take a flight's outcome if it is for this caller; when the wait is over, that it is."""
        outcome = joined.outcome
        if outcome is not None and answers(outcome):
            self.outcomes[joined.key] = outcome
        elif self.patience(joined) <= 0:
            error = flight.timeout(joined.key, joined.primer.wait_seconds(conf.WAIT))
            self.outcomes[joined.key] = Outcome(joined.key, joined.primer.codec, error=error, kind="failed")


class ManyBoarded(Exception):
    """Some of many products are missing: their flights are under way, to be waited for before asking again."""

    def __init__(self, flights: list[tuple[flight.Flight, Callable[[Outcome], bool]]]) -> None:
        self.flights = flights


def try_many(asked: Sequence[str], errors: str, landed: Landed) -> dict[str, Any]:
    """Return many products, taking of those that are missing what has landed.

    Raises:
        ManyBoarded: some are missing; they are being computed now.
    """
    if errors not in ("raise", "return", "skip"):
        raise ValueError(f"errors must be 'raise', 'return' or 'skip', not {errors!r}.")
    results: dict[str, Any] = {}
    failed: dict[str, BaseException] = {}
    parsed: dict[str, Key] = {}
    for text in dict.fromkeys(asked):
        try:
            parsed[text] = registry.key(text)
        except KckFlowError as error:
            failed[text] = error
    if not landed.outcomes and frame.current() is None:
        results = _fresh_many(parsed)
    read = _stored_many({text: key for text, key in parsed.items() if text not in results})
    ask = Ask(None, None, None)
    missing: dict[str, tuple[Key, Primer, str, Stored | None]] = {}
    alone: list[str] = []
    for text, (primer, alias, context, stored) in read.items():
        key = parsed[text]
        verdict, value_text = judge(primer, key, stored)
        if verdict is not MISSING and stored is not None:
            results[text] = _serve(key, primer, alias, context, stored, value_text, verdict, True)
        elif primer is not None and key in landed.outcomes:
            try:
                results[text] = _conclude(key, primer, stored, ask, True, landed.outcomes[key])
            except Exception as error:
                failed[text] = error
        elif primer is not None and primer.prime_on_cache_miss and _flies(alias, context):
            missing[text] = key, primer, alias, stored
        else:
            alone.append(text)
    if missing:
        raise ManyBoarded(_board(missing.values()))
    for text in alone:
        try:
            results[text] = _answer(parsed[text], ask, value_only=True)
        except Exception as error:
            failed[text] = error
    ordered = {text: results[text] for text in dict.fromkeys(asked) if text in results}
    wrong = {text: failed[text] for text in dict.fromkeys(asked) if text in failed}
    if wrong and errors == "raise":
        raise SomeFailed(ordered, wrong)
    if wrong and errors == "return":
        return {text: results[text] if text in results else failed[text] for text in dict.fromkeys(asked)}
    return ordered


def _fresh_many(parsed: dict[str, Key]) -> dict[str, Any]:
    """Return those of many products that may be served as they are, in one narrow statement for each database."""
    groups: dict[str, dict[Key, list[str]]] = {}
    for text, key in parsed.items():
        primer = registry.primers.get(key.key_base)
        if primer is not None and not primer.always_fresh:
            # Two spellings of one key are one row, and two answers, each a copy of its own.
            groups.setdefault(spread.alias_of(primer), {}).setdefault(key, []).append(text)
    results: dict[str, Any] = {}
    for alias, spellings in groups.items():
        primers = {key.key_base: registry.primers[key.key_base] for key in spellings}
        probe = any(primer.probes or primer.name in _sourced for primer in primers.values())
        session = caller(alias)
        if reach.is_lost(alias):
            continue
        try:
            with reach.bounded(session.connection):
                found = products.fresh_many(session, spellings, probe=probe)
        except (OperationalError, InterfaceError):
            if session.connection.in_atomic_block:
                raise
            continue  # the long way reconnects, or says what is wrong
        for key, texts in spellings.items():
            version, value_text = found.get(key, (0, ""))
            primer = primers[key.key_base]
            if version == primer.version:
                results.update((text, primer.codec.decode(value_text)) for text in texts)
    return results


def _flies(alias: str, context: str) -> bool:
    return context == OPEN and frame.current() is None and not is_dirty(alias)


def _board(
    missing: Iterable[tuple[Key, Primer, str, Stored | None]],
) -> list[tuple[flight.Flight, Callable[[Outcome], bool]]]:
    """Board the flights of all misses at once, in digest order: two callers meet in the same order."""
    flights = []
    for key, primer, alias, stored in sorted(missing, key=lambda one: one[0].digest):
        wait = primer.wait_seconds(conf.WAIT)
        joined, new = flight.board(primer, key, alias, reason="miss", wait=wait)
        flights.append((joined, _answers(joined, new, stored, alias) or _never))
        if new:
            flight.depart(joined)
            behind.tidy(alias)
    return flights


def _stored_many(parsed: dict[str, Key]) -> dict[str, tuple[Primer | None, str, str, Stored | None]]:
    """Read all at once: one statement for each database."""
    groups: dict[str, dict[str, Key]] = {}
    for text, key in parsed.items():
        groups.setdefault(spread.alias_of(registry.primers.get(key.key_base)), {})[text] = key
    found: dict[str, tuple[Primer | None, str, str, Stored | None]] = {}
    for alias, members in groups.items():
        context = context_of(alias)
        primers = {text: registry.primers.get(key.key_base) for text, key in members.items()}
        probe = any(primer is None or primer.probes or primer.name in _sourced for primer in primers.values())
        changes = any(primer is not None and primer.augments for primer in primers.values())

        def ask(
            alias: str = alias,
            digests: list[UUID] = [key.digest for key in members.values()],  # noqa: B006, B008
            probe: bool = probe,
            changes: bool = changes,
            dirty: bool = context == ATOMIC,
        ) -> dict[str, Stored]:
            limit = conf.PENDING_LIMIT
            return products.read_many(
                caller(alias), digests, probe=probe, changes=changes, dirty=dirty, limit=limit
            )

        rows = _once_more(alias, context, f"{len(members)} products", ask)
        for text, key in members.items():
            stored, primer = rows.get(str(key)), primers[text]
            if stored is not None and stored.sourced and not probe and primer is not None:
                _sourced.add(primer.name)
                return _stored_many(parsed)
            if stored is not None and context == TEST:
                stored.dirty = True
            if stored is not None and (primer is None or not primer.augments):
                stored.changes = None
            found[text] = (primer, alias, context, stored)
    return found


__all__ = ["RAISE", "WaitTimeout", "get", "get_entry", "get_many"]
