"""Cache.get, and nothing else.

One read statement on the caller's connection decides (``core.md`` §1): its snapshot, its uncommitted work, no
extra connection. What cannot be served is computed elsewhere and joined; inside a transaction that has
written it is computed here, in a savepoint, and not stored; inside a ``TestCase`` everything happens on the
test's own connection.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

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
)
from ..key import INTERNAL, Key
from ..primer import Primer
from ..registry import registry
from ..store import pending, private, products, refreshes
from ..store.products import Stored
from ..store.refreshes import instant
from ..store.session import Session, caller, loads
from ..storing import args_of, encode
from . import behind, compute, flight, frame, tier
from .compute import Computation, Outcome
from .failures import stored_failure

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
    ask = Ask(prime_on_cache_miss, _seconds(wait), _seconds(max_age))
    found = registry.key(key)
    if conf.TIER_SECONDS and ask.max_age is None:
        hit = tier.get(found)
        if hit is not tier.MISS:
            return hit
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
    if here is not None and ask.max_age is None:
        hint = here.hints.get(key)
        if hint is not None and hint.entry is not None:
            frame.note(key, hint.entry.version or None)
            return (
                _copied(primer, hint.text)
                if value_only
                else _with_value(hint.entry, _copied(primer, hint.text))
            )
    # The common case, alone. Inside a compute the long way notes the edge and the hint; where the tier is on,
    # it knows until when a value may be held.
    if (
        value_only
        and here is None
        and primer is not None
        and ask.max_age is None
        and not primer.always_fresh
        and not conf.TIER_SECONDS
    ):
        text = _fresh(key, primer, alias)
        if text is not None:
            return primer.codec.decode(text)
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
            raise _unknown_or_unset(key, stored)
        may_prime = primer.prime_on_cache_miss if ask.prime is None else ask.prime
        if not may_prime:
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
        joined: The flight; ``again``: whether its value is not for this reader, who looks again when it is
            over.
        conclude: Turns the flight's outcome into the answer, or its error.
    """

    def __init__(self, joined: flight.Flight, again: bool) -> None:
        self.joined, self.again = joined, again
        self.conclude: Callable[[Outcome], Any] | None = None

    def concluded(self, landed: Outcome) -> Any:
        """Return the answer that the flight's outcome makes, or raise its error."""
        assert self.conclude is not None
        return self.conclude(landed)


# Set while an async twin asks: the thread that all sync code shares must not wait for a computation.
boarding: ContextVar[bool] = ContextVar("kck_flow_boarding", default=False)


def _fresh(key: Key, primer: Primer, alias: str) -> str | None:
    """Return the value text of a product that may be served as it is; None where the long way must decide."""
    session = caller(alias)
    try:
        return products.fresh(
            session, key.digest, primer.version, probe=primer.probes or primer.name in _sourced
        )
    except (OperationalError, InterfaceError):
        if session.connection.in_atomic_block:
            raise
        return None  # the long way reconnects, or says what is wrong


def _read(key: Key, primer: Primer | None, alias: str, context: str) -> Stored | None:
    probe = primer is None or primer.probes or primer.name in _sourced
    session = caller(alias)
    try:
        stored = _statement(session, key, primer, probe, context)
    except (OperationalError, InterfaceError) as error:
        if context != OPEN:
            raise
        # The connection is gone, perhaps only the connection: once more on a new one.
        session.connection.close()
        try:
            stored = _statement(session, key, primer, probe, context)
        except DatabaseErrors:
            session.connection.close()
            raise StoreUnavailable(
                f"The database did not answer for {str(key)!r}: {error}".strip()
            ) from error
    if stored is not None and stored.sourced and not probe and primer is not None:
        # A compute of this family reads other products: from now on its reads look for changes on their way.
        _sourced.add(primer.name)
        stored = _statement(session, key, primer, True, context)
    return stored


_sourced: set[str] = set()


def _statement(session: Session, key: Key, primer: Primer | None, probe: bool, context: str) -> Stored | None:
    augments = primer is not None and primer.augments
    return products.read(
        session, key.digest, probe=probe, changes=augments, dirty=context == ATOMIC, limit=conf.PENDING_LIMIT
    )


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
        frame.note(key, stored.version)
        if verdict == FRESH:
            here.hints.set(key, entry, text, stored.now)
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
    here = frame.current()
    if here is not None:
        here.refuse(key)  # before we would wait for a flight that waits for us
    if (here is not None and (here.inline or here.snapshot)) or (context == ATOMIC and is_dirty(alias)):
        return compute.compute_live(primer, key, alias)
    remaining = deadline - time.monotonic()
    joined, new = flight.board(primer, key, alias, reason="miss", wait=max(remaining, 0), max_age=ask.max_age)
    if not new and not _may_join(joined, stored, alias):
        # It began before something that we have seen: its value is not for us. Wait until it is over, and
        # look again.
        if boarding.get():
            raise Boarded(joined, again=True)
        flight.wait_for(joined, remaining)
        return None
    if here is not None:
        # Inside a compute: this thread carries it out, or the pool's threads could all wait for one another.
        flight.carry(joined)
    elif new:
        flight.depart(joined)
    if boarding.get() and here is None and context == OPEN:
        raise Boarded(joined, again=False)
    if context == ATOMIC and not joined.claimed.wait(conf.CLAIM_TIMEOUT):
        return compute.compute_live(primer, key, alias)
    outcome = flight.wait_for(joined, remaining)
    behind.tidy(alias)
    if outcome.kind == "found" and not new and _too_old(outcome, ask.max_age):
        return None  # what others of that flight were content with
    if isinstance(outcome.error, StoreUnavailable) and joined.busy:
        if context == ATOMIC:
            return compute.compute_live(primer, key, alias)
        if time.monotonic() < deadline:
            return None
    return outcome


def _too_old(outcome: Outcome, max_age: float | None) -> bool:
    stored = outcome.stored
    return max_age is not None and stored is not None and outcome.now - stored.computed_at > max_age


def _may_join(joined: flight.Flight, stored: Stored | None, alias: str) -> bool:
    """Whether a flight began after everything that this reader has seen."""
    if stored is not None:
        return not stored.pending and joined.joinable(stored.version, stored.epoch)
    if joined.seen is None or not joined.joinable(0, 0):
        return joined.seen is None
    # Without a row nothing could be invalidated but the family: its marks are all that tells.
    marks = pending.family_marks(caller(alias), joined.key, args_of(joined.primer, joined.key))
    return marks <= set(joined.seen.family_pending or ())


def is_dirty(alias: str) -> bool:
    """Whether the caller's transactions have written, or look at a snapshot of their own."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block and connection.autocommit:
            continue
        if connection.vendor != "postgresql":
            return True
        if connection.alias == alias or connection.in_atomic_block:
            rows = Session(connection).run(f"SELECT {products._DIRTY}")
            if rows[0][0]:
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

    here = frame.current()
    if here is not None:
        here.refuse(key)
    with session.transaction():
        args = args_of(primer, key)
        session.run(
            "UPDATE kck_refresh SET lease_until = NULL WHERE digest = %s", [key.digest]
        )  # leases are ignored here
        claim = refreshes.claim(
            session, key, args, lease=3600, owner="test", limit=None, reason=reason, force=force
        )
        if claim is None:
            standing = refreshes.standing(session, [key.digest])[str(key.digest)]
            retry_in = standing.retry_at - standing.now if standing.retry_at is not None else None
            error = stored_failure(key, standing.last_error, retry_in, standing.parked_why)
            return Outcome(key, primer.codec, error=error, kind="failed")
    computation = Computation(primer, key, claim, alias, sessions, own_thread=False, hook=hook, watched=False)
    return computation.carry_out()


def _deliver(key: Key, primer: Primer, outcome: Outcome, value_only: bool) -> Any:
    value = outcome.value()
    version = outcome.stored.version if outcome.stored is not None else None
    here = frame.current()
    if here is not None:
        frame.note(key, version)
        if outcome.stored is not None and not outcome.stored.stale:
            here.hints.set(key, outcome.entry(), outcome.text, outcome.now)
    return value if value_only else outcome.entry()


def _last_good(
    key: Key, primer: Primer, stored: Stored | None, error: BaseException, ask: Ask, value_only: bool
) -> Any:
    """The computation failed, or the wait is over: the last good value where policy allows, else the error."""
    if isinstance(error, (ComputeFailed, StoreUnavailable, UnstorableValue, HookFailed, WaitTimeout)):
        good = _within_policy(primer, stored, ask)
        if good is not None:
            assert stored is not None
            logger.info("served.last_good key=%s error=%s", key, error)
            value = _copied(primer, good)
            frame.note(key, stored.version)
            state = "stale" if isinstance(error, WaitTimeout) else "failed"
            return value if value_only else entry_of(key, stored, value, state)
    raise error


def _within_policy(primer: Primer, stored: Stored | None, ask: Ask) -> str | None:
    if stored is None or stored.state == "unset" or stored.primer_version != primer.version:
        return None
    now = clock.now().timestamp() if clock.is_moved() else stored.now
    since = [at for at in (stored.hard_expires_at, stored.invalid_since) if at is not None and at <= now]
    allowance = primer.stale_if_error.total_seconds()
    if since:
        return stored.value if now < min(since) + allowance else None
    if ask.max_age is not None and not primer.always_fresh and not stored.pending:
        return stored.value  # only this caller found it too old
    return stored.value if allowance > 0 else None


# -- many products
# ----------------------------------------------------------------------------------------------------


def get_many(keys: Iterable[str], errors: str = "raise") -> dict[str, Any]:
    """Return many products; see ``Cache.get_many``."""
    if errors not in ("raise", "return", "skip"):
        raise ValueError(f"errors must be 'raise', 'return' or 'skip', not {errors!r}.")
    asked = list(keys)
    results: dict[str, Any] = {}
    failed: dict[str, BaseException] = {}
    parsed: dict[str, Key] = {}
    for text in dict.fromkeys(asked):
        try:
            parsed[text] = registry.key(text)
        except KckFlowError as error:
            failed[text] = error
    missing: list[str] = []
    for text, found in _stored_many(parsed).items():
        key, (primer, alias, context, stored) = parsed[text], found
        verdict, value_text = judge(primer, key, stored)
        if verdict is MISSING or stored is None:
            missing.append(text)
            continue
        results[text] = _serve(key, primer, alias, context, stored, value_text, verdict, True)
    flights = _prepare_missing([parsed[text] for text in missing])
    if flights and boarding.get():
        raise ManyBoarded(flights)
    for text in missing:
        try:
            results[text] = _answer(parsed[text], Ask(None, None, None), value_only=True)
        except Exception as error:
            failed[text] = error
    ordered = {text: results[text] for text in dict.fromkeys(asked) if text in results}
    wrong = {text: failed[text] for text in dict.fromkeys(asked) if text in failed}
    if wrong and errors == "raise":
        raise SomeFailed(ordered, wrong)
    if wrong and errors == "return":
        return {text: results[text] if text in results else failed[text] for text in dict.fromkeys(asked)}
    return ordered


def _stored_many(parsed: dict[str, Key]) -> dict[str, tuple[Primer | None, str, str, Stored | None]]:
    """Read all at once, one statement for each database (and kind of read)."""
    groups: dict[tuple[str, bool, bool], dict[str, Key]] = {}
    for text, key in parsed.items():
        primer = registry.primers.get(key.key_base)
        groups.setdefault((spread.alias_of(primer), True, False), {})[text] = key
    found: dict[str, tuple[Primer | None, str, str, Stored | None]] = {}
    for (alias, _, _), members in groups.items():
        context = context_of(alias)
        primers = {text: registry.primers.get(key.key_base) for text, key in members.items()}
        probe = any(primer is None or primer.probes or primer.name in _sourced for primer in primers.values())
        changes = any(primer is not None and primer.augments for primer in primers.values())
        rows = products.read_many(
            caller(alias),
            [key.digest for key in members.values()],
            probe=probe,
            changes=changes,
            dirty=context == ATOMIC,
            limit=conf.PENDING_LIMIT,
        )
        for text, key in members.items():
            stored = rows.get(str(key))
            primer = primers[text]
            if stored is not None and stored.sourced and not probe and primer is not None:
                _sourced.add(primer.name)
                return _stored_many(parsed)
            if stored is not None and changes and primer is not None and not primer.augments:
                stored.changes = None
            found[text] = (primer, alias, context, stored)
    return found


class ManyBoarded(Exception):
    """An async ``get_many`` has found misses: their flights, for asyncio to wait for before it asks again."""

    def __init__(self, flights: list[flight.Flight]) -> None:
        self.flights = flights


def _prepare_missing(keys: list[Key]) -> list[flight.Flight]:
    """Board the flights of all misses at once, in digest order: they are computed side by side, and joined
    one by one.
    """
    if (len(keys) < 2 and not boarding.get()) or frame.current() is not None:
        return []
    flights = []
    for key in sorted(keys, key=lambda one: one.digest):
        primer = registry.primers.get(key.key_base)
        if primer is None or not primer.prime_on_cache_miss:
            continue
        alias = spread.alias_of(primer)
        if context_of(alias) != OPEN:
            return []
        boarded, new = flight.board(primer, key, alias, reason="miss", wait=primer.wait_seconds(conf.WAIT))
        flights.append(boarded)
        if new:
            flight.depart(boarded)
    return flights


__all__ = ["RAISE", "WaitTimeout", "get", "get_entry", "get_many"]
