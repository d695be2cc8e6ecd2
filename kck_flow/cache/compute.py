"""A claimed product is computed and published: the one way, for readers, workers and tests.

    claim -> what it has seen -> compute -> encode -> edges -> publish (fenced by token, version, epoch,
    marks, versions read)

The publish is one transaction: the slot first, then the product, the marks of what it changes, its record,
    its run. A product that is augmented is computed in a snapshot of its own, where what the snapshot sees of
    its changes is deleted together with storing a value that contains them (``core.md``, decision 17).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import time
import traceback as tracebacks
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import DatabaseError, OperationalError, connections, transaction

from .. import hooks, spread
from ..conf import conf
from ..entry import Entry
from ..errors import ComputeFailed, ComputeTimeout, CycleError, HookFailed, KckFlowError, UnstorableValue
from ..key import Key
from ..primer import Primer
from ..store import edges, pending, private, products, records, refreshes, runs
from ..store.products import Published, Seen
from ..store.refreshes import Claim, instant
from ..store.session import Session, caller
from ..storing import args_of, encode, expiries, public_of, seconds
from .beats import beats
from .frame import Frame, Hints, enter

logger = logging.getLogger("kck_flow")

Sessions = Callable[[], AbstractContextManager[Session]]
SERIALIZATION = ("40001", "40P01")
SNAPSHOT_TRIES = 5


@dataclass(slots=True)
class Outcome:
    """What came of a computation.

    Attributes:
        text: The value in its codec's text; None for a None value.
        entry_of: Builds an ``Entry`` with its own copy of the value.
        stored: How it was published, or None: fenced, superseded, or computed without storing.
        error: What the waiting are to get instead, or None.
        kind: ``done, unchanged, failed, fenced, superseded, released, found``.
    """

    key: Key
    codec: Any
    text: str | None = None
    stored: Published | None = None
    error: BaseException | None = None
    kind: str = "done"
    now: float = 0.0
    again: bool = False

    def value(self) -> Any:
        """Return a copy of the value, equal to what any later read returns."""
        return self.codec.decode(self.text) if self.text is not None else None

    def entry(self, state: Any = None) -> Entry:
        stored = self.stored
        if stored is None:
            return Entry(
                str(self.key), self.value(), 0, instant(self.now), None, None, state or "fresh", timedelta(0)
            )
        return Entry(
            str(self.key),
            self.value(),
            stored.version,
            instant(stored.computed_at),
            instant(stored.soft_expires_at),
            instant(stored.hard_expires_at),
            state or ("stale" if stored.stale else "fresh"),
            timedelta(0),
        )


def call(
    primer: Primer, key: Key, *, hints: Hints | None = None, inline: bool = False, snapshot: bool = False
) -> tuple[Any, Frame]:
    """Run ``compute`` here and return its result and what it read. Whatever it raises rises, ``sys.exit``
    included.
    """
    with enter(key, inline=inline, snapshot=snapshot) as frame:
        if hints is not None:
            frame.hints = hints
        value = primer.compute(key)
        if inspect.iscoroutine(value):
            value = asyncio.run(value)
        return value, frame


def private_sessions(alias: str) -> Sessions:
    """Return the usual way to the store: the cache's own connections, given back between statements."""
    return lambda: private.session(alias, timeout=conf.STATEMENT_TIMEOUT)


def carry_out(
    primer: Primer,
    key: Key,
    claim: Claim,
    alias: str,
    sessions: Sessions,
    *,
    own_thread: bool,
    look_again: bool = False,
    hook: str = "prime",
    worker: str = "",
    watched: bool = True,
    tell_seen: Callable[[Seen], None] | None = None,
    timed_out: Callable[[ComputeTimeout], None] | None = None,
) -> Outcome:
    """Compute a claimed product and publish it; always ends the claim, whatever happens.

    Args:
        sessions: How the store is reached; for a ``TestCase`` the test's own connection.
        own_thread: Whether this thread's ordinary connection is ours to use (a pool thread, a worker): hooks
            then commit together with the value.
        look_again: Serve what somebody stored between the read and the claim, instead of computing.
        hook: ``prime`` (a miss) or ``refresh``.
        watched: Whether the lease is beaten (not in a test, where leases mean nothing).
        tell_seen: Called before the computation begins with what it has seen: who may join depends on it.
        timed_out: Called from another thread when ``compute_limit`` is over; the computation itself cannot be
            stopped.

    Returns:
        The outcome; ``error`` is set where the computation failed. Raises only what is not about the product
        (the database is gone).
    """
    args = args_of(primer, key)
    limit = seconds(primer.compute_limit)
    outcome = Outcome(key, primer.codec)
    ended = [False]

    def give_up() -> None:
        if not ended[0]:
            ended[0] = True
            error = ComputeTimeout(
                f"{str(key)!r} was not computed within its compute_limit of {limit:g} s; its late result will be refused.",
                key=key,
                cause="ComputeTimeout",
            )
            outcome.error, outcome.kind = error, "failed"
            _fail(primer, key, claim, sessions, error, "", worker)
            if timed_out is not None:
                timed_out(error)

    if watched:
        beats().hold(alias, claim, limit=limit, overdue=give_up if limit is not None else None)
    try:
        with sessions() as session, session.transaction():
            causes = pending.take(session, key)
            seen = products.seen(session, key, args)
        if look_again and _servable(primer, seen) and not causes:
            with sessions() as session:
                refreshes.release(session, claim)
            outcome.text, outcome.kind, outcome.now = seen.value, "found", seen.now
            outcome.stored = Published(
                seen.version,
                False,
                False,
                seen.computed_at or seen.now,
                seen.soft_expires_at,
                seen.hard_expires_at,
                False,
            )
            return outcome
        if tell_seen is not None:
            tell_seen(seen)
        try:
            if primer.augments:
                _in_snapshot(
                    primer,
                    key,
                    claim,
                    alias,
                    sessions,
                    args,
                    seen,
                    causes,
                    outcome,
                    own_thread,
                    hook,
                    worker,
                    ended,
                )
            else:
                _straight(
                    primer,
                    key,
                    claim,
                    alias,
                    sessions,
                    args,
                    seen,
                    causes,
                    outcome,
                    own_thread,
                    hook,
                    worker,
                    ended,
                )
        except (Exception, SystemExit) as error:
            if ended[0]:
                return outcome
            ended[0] = True
            _record_failure(primer, key, claim, sessions, error, outcome, worker)
        return outcome
    finally:
        ended[0] = True
        if watched:
            beats().let_go(alias, claim)


def _servable(primer: Primer, seen: Seen) -> bool:
    return (
        seen.state != "unset"
        and not seen.invalid
        and seen.primer_version == primer.version
        and not primer.always_fresh
        and (seen.soft_expires_at is None or seen.soft_expires_at > seen.now)
        and (seen.hard_expires_at is None or seen.hard_expires_at > seen.now)
    )


def _straight(
    primer: Primer,
    key: Key,
    claim: Claim,
    alias: str,
    sessions: Sessions,
    args: dict[str, Any],
    seen: Seen,
    causes: Any,
    outcome: Outcome,
    own_thread: bool,
    hook: str,
    worker: str,
    ended: list[bool],
) -> None:
    begun = time.monotonic()
    hooks.run(primer, f"pre_{hook}", key)
    value, frame = call(primer, key)
    hooks.run(primer, "pre_write", key, value=value)
    text, state = encode(primer, primer.codec, value)
    cost = (time.monotonic() - begun) * 1000
    if ended[0]:
        return
    if frame.reads or seen.sourced:
        # First, on their own: an upstream that changes from now on finds them (decision 22).
        with sessions() as session:
            edges.save(session, key, _edge_rows(primer, frame))
    hooked = hooks.anything(primer)
    with _publishing(alias, sessions, own_thread and hooked) as session, session.transaction():
        _publish(
            session,
            primer,
            key,
            claim,
            args,
            value,
            text,
            state,
            seen,
            bool(frame.reads),
            causes,
            cost,
            outcome,
            hook,
            worker,
            hooked,
        )
    ended[0] = True
    outcome.text = text


def _edge_rows(primer: Primer, frame: Frame) -> list[tuple[Key, int | None, str]]:
    """Return the edges of a computation; a declared edge on the same product decides its mode."""
    rows: list[tuple[Key, int | None, str]] = []
    for upstream, version in frame.reads.items():
        declared = [on.then for on in primer.depends_on if on.source_base == upstream.key_base]
        rows.append((upstream, version, declared[0] if declared else "stale"))
    return rows


def _publishing(alias: str, sessions: Sessions, own_connection: bool) -> AbstractContextManager[Session]:
    # What hooks write goes through Django's own connection: to commit with it, the value goes there too.
    if own_connection:
        return nullcontext(caller(alias))
    return sessions()


def _publish(
    session: Session,
    primer: Primer,
    key: Key,
    claim: Claim,
    args: dict[str, Any],
    value: Any,
    text: str | None,
    state: str,
    seen: Seen,
    sourced: bool,
    causes: Any,
    cost: float,
    outcome: Outcome,
    hook: str,
    worker: str,
    hooked: bool,
) -> None:
    now = seen.now + cost / 1000
    due, nominal = primer.upcoming(key, instant(claim.nominal), instant(now))
    again = refreshes.finish(
        session,
        claim,
        lane=refreshes.SCHEDULED if nominal else primer.priority,
        next_due=due,
        nominal=nominal,
        cost_ms=cost,
        min_gap=primer.min_gap.total_seconds(),
    )
    claim.ended = True
    if again is None:
        outcome.kind, outcome.text, outcome.now = "fenced", text, now
        logger.warning("refresh.fenced key=%s slot=%s token=%s", key, claim.slot, claim.token)
        _append_run(session, key, claim, "fenced", causes, worker, None, text)
        return
    stored = store(session, primer, key, args, value, text, state, seen, sourced, hook, hooked)
    if stored is None:
        # Somebody wrote or invalidated it meanwhile: what we computed is old. If a reader wants it, it will
        # ask.
        outcome.kind, outcome.text, outcome.now = "superseded", text, now
        _append_run(session, key, claim, "superseded", causes, worker, None, text)
        return
    outcome.stored, outcome.now, outcome.again = stored, stored.computed_at, bool(again)
    outcome.kind = "done" if stored.changed else "unchanged"
    if stored.stale and not again and primer.schedule is not None:
        refreshes.request(session, key, args, lane=refreshes.TRIGGERED, reason="moved")
    _append_run(session, key, claim, outcome.kind, causes, worker, stored.version, text)


def store(
    session: Session,
    primer: Primer,
    key: Key,
    args: dict[str, Any],
    value: Any,
    text: str | None,
    state: str,
    seen: Seen,
    sourced: bool,
    hook: str,
    hooked: bool,
) -> Published | None:
    """Put a computed value over the row it began from, with everything that commits along."""
    soft, hard = expiries(primer, value)
    stored = products.put(
        session,
        key,
        args=args,
        value=text,
        public=public_of(primer.codec, text),
        state=state,
        seen=seen,
        primer_version=primer.version,
        sourced=sourced,
        soft=soft,
        hard=hard,
    )
    if stored is None:
        return None
    old = primer.codec.decode(seen.value) if seen.state == "value" and seen.value is not None else None
    if stored.changed:
        at = instant(stored.computed_at)
        assert at is not None
        spread.from_product(
            session, key, version=stored.version, old=old, new=value, at=at, reason=f"{key} changed"
        )
        if primer.keep_history:
            keep_record(session, primer, key, text, stored)
    if hooked:
        entry = Outcome(key, primer.codec, text, stored).entry()
        hooks.run(primer, "post_write", key, session=session, entry=entry, old=old)
        hooks.run(primer, f"post_{hook}", key, session=session, entry=entry, old=old)
    return stored


def keep_record(session: Session, primer: Primer, key: Key, text: str | None, stored: Published) -> None:
    """Append to a product's history what it holds from now on."""
    number = records.append(
        session, key, value=text, version=stored.version, primer_version=primer.version, at=stored.computed_at
    )
    hooks.run(primer, "post_record", key, session=session, record=number)


def _in_snapshot(
    primer: Primer,
    key: Key,
    claim: Claim,
    alias: str,
    sessions: Sessions,
    args: dict[str, Any],
    seen: Seen,
    causes: Any,
    outcome: Outcome,
    own_thread: bool,
    hook: str,
    worker: str,
    ended: list[bool],
) -> None:
    """Compute an augmented product in one REPEATABLE READ transaction that also deletes the changes it sees.

    A fold or a thief that touched the product meanwhile makes the publish fail with 40001; the lease is
    looked at again before another try, since a blind retry would compute without one.
    """
    begun = time.monotonic()
    for attempt in range(1, SNAPSHOT_TRIES + 1):
        begun = time.monotonic()
        try:
            _snapshot_once(primer, key, claim, alias, sessions, args, seen, outcome, own_thread, hook, ended)
        except DatabaseError as error:
            if _sqlstate(error) not in SERIALIZATION or attempt == SNAPSHOT_TRIES:
                raise
            with sessions() as session:
                seen = products.seen(session, key, args)
            logger.info("compute.retried key=%s attempt=%d sqlstate=%s", key, attempt, _sqlstate(error))
            if claim.lost or ended[0]:
                outcome.kind = "fenced"
                return
            continue
        break
    if ended[0]:
        return
    ended[0] = True
    cost = (time.monotonic() - begun) * 1000
    # The slot is finished on its own, after: beats touch it, and must never meet the snapshot.
    with sessions() as session, session.transaction():
        due, nominal = primer.upcoming(key, instant(claim.nominal), instant(seen.now + cost / 1000))
        again = refreshes.finish(
            session,
            claim,
            lane=refreshes.SCHEDULED if nominal else primer.priority,
            next_due=due,
            nominal=nominal,
            cost_ms=cost,
            min_gap=primer.min_gap.total_seconds(),
        )
        outcome.again = bool(again)
        # The snapshot could not see an upstream that moved while we computed; the edges can.
        edges.mark_moved(session, key)
        version = outcome.stored.version if outcome.stored else None
        _append_run(session, key, claim, outcome.kind, causes, worker, version, outcome.text)


def _snapshot_once(
    primer: Primer,
    key: Key,
    claim: Claim,
    alias: str,
    sessions: Sessions,
    args: dict[str, Any],
    seen: Seen,
    outcome: Outcome,
    own_thread: bool,
    hook: str,
    ended: list[bool],
) -> None:
    session = caller(alias)
    with transaction.atomic(using=alias):
        if own_thread:
            session.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        hooks.run(primer, f"pre_{hook}", key)
        value, frame = call(primer, key, snapshot=True)
        hooks.run(primer, "pre_write", key, value=value)
        text, state = encode(primer, primer.codec, value)
        if ended[0] or claim.lost:
            outcome.kind, outcome.text = "fenced", text
            transaction.set_rollback(True, using=alias)
            return
        if frame.reads or seen.sourced:
            with sessions() as outside:
                edges.save(outside, key, _edge_rows(primer, frame))
        pending.delete_changes(session, key)
        hooked = hooks.anything(primer)
        stored = store(session, primer, key, args, value, text, state, seen, bool(frame.reads), hook, hooked)
        if stored is None:
            outcome.kind, outcome.text, outcome.now = "superseded", text, seen.now
            transaction.set_rollback(True, using=alias)
            return
    outcome.text, outcome.stored, outcome.now = text, stored, stored.computed_at
    outcome.kind = "done" if stored.changed else "unchanged"


def _sqlstate(error: BaseException) -> str | None:
    cause = error.__cause__
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)


def _append_run(
    session: Session,
    key: Key,
    claim: Claim,
    outcome: str,
    causes: Any,
    worker: str,
    version: int | None,
    text: str | None,
    error: str = "",
    traceback: str = "",
) -> None:
    runs.append(
        session,
        key,
        token=claim.token,
        reason=claim.reason,
        outcome=outcome,
        started=claim.started,
        lane=claim.lane,
        nominal=claim.nominal,
        causes=[list(cause) for cause in causes] if causes else None,
        error=error,
        traceback=traceback,
        version=version,
        size=len(text) if text is not None else None,
        worker=worker,
    )


# -- failures
# -----------------------------------------------------------------------------------------------------


def failure_of(key: Key, error: BaseException) -> BaseException:
    """Return what the waiting get for what ``compute`` raised: itself where it is typed already, else
    ComputeFailed.
    """
    if isinstance(error, (UnstorableValue, ComputeFailed, HookFailed)):
        return error
    cause = describe(error)
    shown = "".join(tracebacks.format_exception(error))
    failure = ComputeFailed(f"Computing {str(key)!r} raised {cause}", key=key, cause=cause, traceback=shown)
    failure.__cause__ = error
    return failure


def describe(error: BaseException) -> str:
    """Return ``TypeName: message`` of an exception."""
    return f"{type(error).__name__}: {error}".strip().rstrip(":")


def _record_failure(
    primer: Primer,
    key: Key,
    claim: Claim,
    sessions: Sessions,
    error: BaseException,
    outcome: Outcome,
    worker: str,
) -> None:
    outcome.error, outcome.kind = failure_of(key, error), "failed"
    shown = "".join(tracebacks.format_exception(error))
    level = (
        logging.DEBUG
        if isinstance(error, KckFlowError) and not isinstance(error, UnstorableValue)
        else logging.WARNING
    )
    logger.log(
        level,
        "refresh.failed key=%s slot=%s token=%s attempt=%d error=%s",
        key,
        claim.slot,
        claim.token,
        claim.attempts + 1,
        describe(error),
    )
    _fail(primer, key, claim, sessions, error, shown, worker)


def backoff_seconds(primer: Primer, attempts: int, spread_by: float | None = None) -> float:
    """Return the pause after the ``attempts``-th failure in a row: doubling, capped, spread by half either
    way.
    """
    base = primer.backoff.total_seconds() * 2 ** min(attempts - 1, 30)
    share = random.uniform(0.5, 1.5) if spread_by is None else spread_by
    return float(min(base, primer.backoff_cap.total_seconds()) * share)


def _fail(
    primer: Primer, key: Key, claim: Claim, sessions: Sessions, error: BaseException, shown: str, worker: str
) -> None:
    attempts = claim.attempts + 1
    due, nominal = primer.upcoming(key, instant(claim.nominal), instant(claim.started))
    retry = attempts % (primer.retries + 1) != 0
    park = attempts >= primer.park_after or (not retry and due is None)
    claim.ended = True
    with suppress(OperationalError), sessions() as session, session.transaction():
        told = refreshes.fail(
            session,
            claim,
            error=f"{describe(error)}\n{shown[-2000:]}" if shown else describe(error),
            backoff=backoff_seconds(primer, attempts),
            retry=retry and not park,
            park=park,
            next_due=due,
            nominal=nominal,
        )
        outcome = "failed" if told is not None else "fenced"
        _append_run(session, key, claim, outcome, None, worker, None, None, describe(error), shown)
        if park and told is not None:
            logger.error("refresh.parked key=%s attempts=%d why=failed: kck retry %s", key, attempts, key)


def stored_failure(
    key: Key, last_error: str | None, retry_in: float | None, parked: str | None
) -> ComputeFailed:
    """Return the failure that readers get within the back-off, without a compute."""
    cause = (last_error or "unknown").splitlines()[0]
    when = f"it is tried again in {max(retry_in, 0):.1f} s" if retry_in is not None else "it is parked"
    if parked:
        when = f"it is parked ({parked}); revive it with: manage.py kck retry {key}"
    return ComputeFailed(f"Computing {str(key)!r} failed with {cause}; {when}.", key=key, cause=cause)


def compute_live(primer: Primer, key: Key, alias: str) -> Outcome:
    """Compute on the caller's connection, in a savepoint, for this call only: nothing is stored and nobody
    told.
    """
    outcome = Outcome(key, primer.codec, kind="live")
    try:
        if connections[alias].in_atomic_block:
            with transaction.atomic(using=alias):
                value, _ = call(primer, key, inline=True)
        else:
            value, _ = call(primer, key, inline=True)
        outcome.text, _state = encode(primer, primer.codec, value)
    except CycleError as error:
        outcome.error = error
    except (Exception, SystemExit) as error:
        outcome.error = failure_of(key, error)
    outcome.now = time.time()
    return outcome
