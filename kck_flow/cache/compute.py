"""A claimed product is computed and published: the one way, for readers, workers and tests.

    claim -> begin: what it has seen -> compute -> encode -> edges -> publish

The publish is fenced by the lease's token, the product's version and epoch, the marks on their way and the
versions of what was read; it is one statement: slot, product, marks of what it changes, run. A product that
is augmented is computed in a snapshot of its own, where what the snapshot sees of its changes is deleted
together with storing a value that contains them.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
import traceback as tracebacks
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from asgiref.sync import async_to_sync
from django.db import DatabaseError, InterfaceError, connections, transaction

from .. import clock, hooks, spread, waking
from ..conf import conf
from ..entry import Entry
from ..errors import ComputeTimeout, CycleError, KckFlowError, UnstorableValue
from ..key import Key
from ..metric import Metric
from ..primer import Primer
from ..registry import registry
from ..store import edges, pending, private, products, publishing, refreshes, runs
from ..store.products import Computed, Published, Seen
from ..store.refreshes import Claim, Ending, instant
from ..store.session import Session, caller
from ..storing import args_of, encode, expiries, public_of, seconds
from .beats import beats
from .failures import backoff_seconds, describe, failure_of
from .frame import Frame, Hints, enter
from .statements import noted

logger = logging.getLogger("kck_flow")

Sessions = Callable[[], AbstractContextManager[Session]]
# Serialization failures and deadlocks end a transaction that may simply be tried again; 55P03: a row was held
# too long.
SERIALIZATION = ("40001", "40P01")
HELD = ("55P03", *SERIALIZATION)
# Connection lost, no resources, ended by an operator, crash or timeout, trouble with files: classes of SQLSTATE.
ABSENT = ("08", "53", "57", "58")
# Of what is no Exception, what a compute may end with all the same: it failed. Ctrl+C is another's wish, and rises.
RAISED = (Exception, SystemExit, GeneratorExit, asyncio.CancelledError)
TRIES = 5
TRY_SECONDS = 3.0  # a caller waits for the value, stored or not


@dataclass(slots=True)
class Outcome:
    """What came of a computation.

    Attributes:
        text: The value in its codec's text; None for a None value.
        stored: How it was published, or None: fenced, superseded, or computed without storing.
        error: What the waiting are to get instead, or None.
        kind: ``done, unchanged, failed, fenced, superseded, unstored, released, found, live``.
        epoch: How often the product had been invalidated when this value was made, or found.
    """

    key: Key
    codec: Any
    text: str | None = None
    stored: Published | None = None
    error: BaseException | None = None
    kind: str = "done"
    now: float = 0.0
    again: bool = False
    epoch: int = 0

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
    primer: Primer,
    key: Key,
    *,
    at: datetime | None = None,
    hints: Hints | None = None,
    inline: bool = False,
    snapshot: bool = False,
) -> tuple[Any, Frame]:
    """Run ``compute`` here and return its result and what it read. Whatever it raises rises, ``sys.exit``
    included.

    Args:
        at: Of a metric, an instant of the period that is measured; now where not given.
    """
    with enter(key, inline=inline, snapshot=snapshot) as frame:
        if hints is not None:
            frame.hints = hints
        value = primer.product_of(key, at or clock.now())
        if inspect.iscoroutine(value):
            # What it asks of Django runs in this thread, hence on this connection, in its transaction or snapshot.
            value = async_to_sync(awaited)(value)
        return primer.storable(key, value), frame


async def awaited(value: Coroutine[Any, Any, Any]) -> Any:
    """Await what an ``async def`` returned."""
    return await value


def private_sessions(alias: str) -> Sessions:
    """Return the usual way to the store: the cache's own connections, given back between statements."""
    return lambda: private.session(alias, timeout=conf.STATEMENT_TIMEOUT)


def servable(primer: Primer, seen: Seen, not_before: float | None = None) -> bool:
    """Whether what is stored may be served as fresh, to readers who want nothing computed before an instant."""
    if not_before is not None and (seen.computed_at is None or seen.computed_at < not_before):
        return False
    return (
        seen.state != "unset"
        and not seen.marked
        and not seen.invalid
        and seen.primer_version == primer.version
        and not primer.always_fresh
        and (seen.soft_expires_at is None or seen.soft_expires_at > seen.now)
        and (seen.hard_expires_at is None or seen.hard_expires_at > seen.now)
    )


@dataclass
class Computation:
    """One claimed product on its way from claim to publish.

    Attributes:
        sessions: How the store is reached; for a ``TestCase`` the test's own connection.
        own_thread: Whether this thread's ordinary connection is ours to use (a pool thread, a worker): hooks
            then commit together with the value, and an augmented product has a snapshot of its own.
        look_again: Whether what somebody stored between the read and the claim will do, instead of computing.
        hook: ``prime`` (a miss) or ``refresh``.
        worker: Name of the worker, for the run.
        watched: Whether the lease is beaten (not in a test, where leases mean nothing).
        tell_seen: Called before the computation begins with what it has seen: who may join depends on it.
        timed_out: Called from another thread when ``compute_limit`` is over; the computation itself cannot be
            stopped.
    """

    primer: Primer
    key: Key
    claim: Claim
    alias: str
    sessions: Sessions
    own_thread: bool
    look_again: Callable[[Seen], bool] | None = None
    hook: str = "prime"
    worker: str = ""
    watched: bool = True
    tell_seen: Callable[[Seen], None] | None = None
    timed_out: Callable[[ComputeTimeout], None] | None = None

    def __post_init__(self) -> None:
        self.args = args_of(self.primer, self.key)
        self.outcome = Outcome(self.key, self.primer.codec)
        self.seen = Seen()
        self.statements: list[list[Any]] | None = None
        # Set by whoever ends the claim first: the computation itself, or the watch over its limit.
        self.ended = False

    def carry_out(self) -> Outcome:
        """Compute and publish; ends the claim, whatever happens.

        Returns:
            The outcome; ``error`` is set where the computation failed.

        Raises:
            django.db.Error: the store could not be reached before the computation began; the claim is given
            back.
        """
        limit = seconds(self.primer.compute_limit)
        if self.watched:
            overdue = self._give_up if limit is not None else None
            beats().hold(self.alias, self.claim, limit=limit, overdue=overdue)
        try:
            self._begin()
            if self.look_again is not None and not self.seen.causes and self.look_again(self.seen):
                return self._found()
            if self.tell_seen is not None:
                self.tell_seen(self.seen)
            try:
                if self.primer.augments:
                    self._in_snapshot()
                else:
                    self._straight()
            except RAISED as error:
                if not self.ended:
                    self._fail(error)
            return self.outcome
        finally:
            self.ended = True
            if self.watched:
                beats().let_go(self.alias, self.claim)

    # -- before
    # -------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        try:
            with self.sessions() as session:
                self.seen = products.begin(session, self.key, self.args)
            self.outcome.epoch = self.seen.epoch
        except (DatabaseError, InterfaceError, private.Busy):
            self._release()
            raise

    def _found(self) -> Outcome:
        """Somebody stored a value that will do while we claimed."""
        self._release()
        seen, outcome = self.seen, self.outcome
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

    def _release(self, delay: float | None = None) -> None:
        self.claim.ended = True
        with suppress(DatabaseError, InterfaceError, private.Busy), self.sessions() as session:
            refreshes.release(session, self.claim, delay=delay)

    # -- the computation
    # ----------------------------------------------------------------------------------------------

    def _straight(self) -> None:
        begun = time.monotonic()
        hooks.run(self.primer, f"pre_{self.hook}", self.key, session=caller(self.alias))
        # On somebody else's connection (a test's), what the computation breaks there is rolled back.
        with nullcontext() if self.own_thread else transaction.atomic(using=self.alias), self._noted():
            value, frame = call(self.primer, self.key, at=instant(self.seen.now))
        computed = self._encoded(value, frame)
        cost = (time.monotonic() - begun) * 1000
        if self.ended:
            return
        self.outcome.text = computed.value
        patient_until = time.monotonic() + TRY_SECONDS
        for attempt in range(1, TRIES + 1):
            try:
                computed = replace(computed, moved=self._save_edges(frame))
                self._publish(value, computed, cost)
                break
            except (DatabaseError, InterfaceError, private.Busy) as error:
                if (
                    not isinstance(error, private.Busy)
                    and sqlstate(error) is not None
                    and sqlstate(error) not in HELD
                    and not str(sqlstate(error)).startswith(ABSENT)
                ):
                    raise  # not the store's absence, nor somebody else's lock: a fault in what we sent
                if attempt == TRIES or self.claim.lost or time.monotonic() > patient_until:
                    self._unstored(error)
                    return
                time.sleep(0.05 * attempt)
        self.ended = True

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """Note the SQL of a refresh. Nobody waits for one, as a reader does for what was missing."""
        if self.hook != "refresh" or not conf.NOTE_SQL:
            yield
            return
        with noted() as found:
            try:
                yield
            finally:
                self.statements = found.told()

    def _encoded(self, value: Any, frame: Frame) -> Computed:
        primer = self.primer
        hooks.run(primer, "pre_write", self.key, session=caller(self.alias), value=value)
        text, state = encode(self.key, primer, primer.codec, value)
        soft, hard = expiries(primer, value)
        return Computed(
            self.args,
            text,
            public_of(primer.codec, text),
            state,
            primer.version,
            bool(frame.reads),
            soft,
            hard,
            self._unread(frame),
        )

    def _unread(self, frame: Frame) -> list[str]:
        """Return the declared sources that this computation has not read."""
        read = {upstream.key_base for upstream in frame.reads}
        sources = [
            on.model._meta.label if on.model is not None else on.source_base for on in self.primer.depends_on
        ]
        return [source for source in sources if source is not None and source not in read]

    def _save_edges(self, frame: Frame) -> bool:
        """First, on their own: an upstream that changes from now on finds them. Returns whether one has already."""
        if not frame.reads and not self.seen.sourced:
            return False
        rows = self._edge_rows(frame)
        moved = False
        # An edge stands where its upstream's changes are committed; from another database its mark is delivered.
        for alias in {self.alias, *(alias_of_key(row.key) for row in rows)}:
            with self._session_of(alias) as session:
                there = [row for row in rows if alias_of_key(row.key) == alias]
                edges.save(session, self.key, there)
                moved = edges.moved(session, there) or moved
                counted = [frame.counted[row.key] for row in there if row.key in frame.counted]
                moved = moved or any(has(session) for has in counted)
        return moved

    def _session_of(self, alias: str) -> AbstractContextManager[Session]:
        if alias == self.alias:
            return self.sessions()
        return private.session(alias) if self.watched else nullcontext(caller(alias))

    def _edge_rows(self, frame: Frame) -> list[edges.Read]:
        """Return the edges of a computation; a declared edge on the same product decides its mode."""
        rows: list[edges.Read] = []
        for upstream, (version, epoch) in frame.reads.items():
            declared = [on.then for on in self.primer.depends_on if on.source_base == upstream.key_base]
            rows.append(edges.Read(upstream, version, epoch, declared[0] if declared else "stale"))
        return rows

    def _unstored(self, error: BaseException) -> None:
        """The store failed at the end: the value goes to whoever waits, and the product is wanted again."""
        self.ended = True
        self.outcome.kind, self.outcome.now = "unstored", self.seen.now
        logger.error(
            "refresh.unstored key=%s token=%s error=%s", self.key, self.claim.token, str(error).strip()
        )
        self._release(delay=1.0)

    # -- the publish
    # --------------------------------------------------------------------------------------------------

    @property
    def _schedule(self) -> str:
        # A worker knows what it was claimed under; a reader, what it would put in force itself.
        return self.claim.schedule if self.claim.schedule is not None else self.primer.schedule_digest()

    def _ending(self, cost: float) -> Ending:
        # Where a test moves time, it is its clock that says when the computation ended.
        now = clock.now().timestamp() if clock.is_moved() else self.seen.now + cost / 1000
        due, nominal = self.primer.upcoming(self.key, instant(self.claim.nominal), instant(now))
        gap = self.primer.min_gap.total_seconds()
        return Ending(self.primer.priority, due, nominal, cost, gap, schedule=self._schedule)

    def _publish(self, value: Any, computed: Computed, cost: float) -> None:
        primer, key, claim = self.primer, self.key, self.claim
        ending, hooked = self._ending(cost), hooks.anything(primer)
        more = hooked or primer.keep_history or bool(spread.declared_below(key))
        # What hooks write goes through Django's own connection: to commit with it, the value goes there too.
        own = nullcontext(caller(self.alias)) if hooked and self.own_thread else self.sessions()
        alone = not connections[self.alias].in_atomic_block
        with own as session, session.transaction() if more else nullcontext():
            if more and alone and not session.is_private:
                # Whatever the project's transactions are: what is judged here is what is committed now.
                session.run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
            landing = publishing.publish(
                session,
                key,
                claim,
                computed,
                self.seen,
                ending,
                worker=self.worker,
                statements=self.statements,
            )
            if landing.stored is not None and more:
                self._beside(session, value, computed, landing.stored, hooked)
            if pending.all_below(session, [(key.digest, str(key))], landing.marked, "changed"):
                waking.soon(session)
        self.outcome.stored, self.outcome.again = landing.stored, bool(landing.again)
        self.outcome.now = landing.stored.computed_at if landing.stored else self.seen.now + cost / 1000
        if landing.again is None:
            self._fenced()
            logger.warning("refresh.fenced key=%s slot=%s token=%s", key, claim.slot, claim.token)
        elif landing.stored is None:
            # Somebody wrote or invalidated it meanwhile: what we computed is old. Who wants it will ask.
            self.outcome.kind = "superseded"
        else:
            self.outcome.kind = "done" if landing.stored.changed else "unchanged"

    def _beside(
        self, session: Session, value: Any, computed: Computed, stored: Published, hooked: bool
    ) -> None:
        """What commits together with the value: marks of declared edges, its record, the effects of hooks."""
        primer, key, seen = self.primer, self.key, self.seen
        old = primer.codec.decode(seen.value) if seen.state == "value" and seen.value is not None else None
        if stored.changed:
            at = instant(stored.computed_at)
            assert at is not None
            spread.declared_from_product(
                session, key, version=stored.version, old=old, new=value, at=at, reason=f"{key} changed"
            )
        if (stored.changed and primer.keep_history) or isinstance(primer, Metric):
            # A metric's number is that of the period in which its computation began, also where it has not changed.
            since = seen.now if isinstance(primer, Metric) else stored.computed_at
            hooks.record(session, primer, key, computed.value, version=stored.version, at=since)
        if hooked:
            entry = Outcome(key, primer.codec, computed.value, stored).entry()
            hooks.run(primer, "post_write", key, session=session, entry=entry, old=old)
            hooks.run(primer, f"post_{self.hook}", key, session=session, entry=entry, old=old)

    def _fenced(self) -> None:
        """The lease was lost: what we have is for our own callers only."""
        self.outcome.kind = "fenced"
        with suppress(DatabaseError, InterfaceError, private.Busy), self.sessions() as session:
            refreshes.survived(session, self.claim)

    # -- augmented products
    # -------------------------------------------------------------------------------------------

    def _in_snapshot(self) -> None:
        """Compute in one REPEATABLE READ transaction that also deletes the changes it sees.

        A fold or a thief that touched the product meanwhile makes the publish fail with 40001; what is seen
        is read again before another try, and a lease that was lost meanwhile ends it: a blind retry would
        compute without one.
        """
        begun = time.monotonic()
        for attempt in range(1, TRIES + 1):
            begun = time.monotonic()
            try:
                self._snapshot_once()
                break
            except DatabaseError as error:
                if sqlstate(error) not in SERIALIZATION or attempt == TRIES:
                    raise
                logger.info(
                    "compute.retried key=%s attempt=%d sqlstate=%s", self.key, attempt, sqlstate(error)
                )
                if self.ended or not self._still_ours():
                    if self.outcome.text is None and self.outcome.error is None:
                        raise  # no value, and None is one
                    self._fenced()
                    return
                with self.sessions() as session:
                    self.seen = products.begin(session, self.key, self.args)
                self.outcome.epoch = self.seen.epoch
        if self.ended:
            return
        self.ended = True
        # The slot is finished on its own, after: beats touch it, and must never meet the snapshot.
        try:
            with self.sessions() as session, session.transaction():
                ending = self._ending((time.monotonic() - begun) * 1000)
                self.outcome.again = bool(refreshes.finish(session, self.claim, ending))
                self._append_run(session, self.outcome.kind)
        except (DatabaseError, InterfaceError, private.Busy) as error:
            # The value is stored; the slot's lease ends by itself, and the next claim finds it fresh.
            logger.error("refresh.unfinished key=%s error=%s", self.key, str(error).strip())

    def _still_ours(self) -> bool:
        """Whether the lease is ours, asked of the slot itself: where the whole process stood still, its beats know
        nothing yet. If it is, it has just been extended.
        """
        if self.claim.lost:
            return False
        try:
            with self.sessions() as session:
                return bool(refreshes.beat(session, [self.claim]))
        except private.Busy:
            return True  # no news; the product's row, which a successor would have changed, decides

    def _snapshot_once(self) -> None:
        primer, key, session, outcome = self.primer, self.key, caller(self.alias), self.outcome
        with transaction.atomic(using=self.alias):
            if self.own_thread:
                session.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            hooks.run(primer, f"pre_{self.hook}", key, session=session)
            with self._noted():
                value, frame = call(primer, key, at=instant(self.seen.now), snapshot=True)
            computed = self._encoded(value, frame)
            outcome.text = computed.value
            if self.ended or not self._still_ours():
                self._fenced()
                transaction.set_rollback(True, using=self.alias)
                return
            computed = replace(computed, moved=self._save_edges(frame))
            contained = pending.delete_changes(session, key)
            stored = products.put(session, key, computed, self.seen)
            if stored is None:
                outcome.kind, outcome.now = "superseded", self.seen.now
                transaction.set_rollback(True, using=self.alias)
                return
            products.remember_applied(session, key.digest, contained)
            if stored.changed:
                self._mark_below()
            self._beside(session, value, computed, stored, hooks.anything(primer))
        outcome.stored, outcome.now = stored, stored.computed_at
        outcome.kind = "done" if stored.changed else "unchanged"

    def _mark_below(self) -> None:
        """Mark what has read the product, from outside of the snapshot, which may be older than their edges, while the
        product's row is ours: until our commit nobody can publish what was made from the value before.
        """
        with self.sessions() as outside:
            if pending.append_downstream(outside, self.key.digest, source=str(self.key), reason="changed"):
                waking.soon(outside)

    # -- failures
    # -----------------------------------------------------------------------------------------------------

    def _fail(self, error: BaseException) -> None:
        self.ended = True
        self.outcome.error, self.outcome.kind = failure_of(self.key, error), "failed"
        # What is the caller's own mistake, or told already (a failing upstream), is no news; the rest is.
        told = isinstance(error, KckFlowError) and not isinstance(error, UnstorableValue)
        self._tell_failure(error, logging.DEBUG if told else logging.WARNING)
        self._record_failure(error, "".join(tracebacks.format_exception(error)))

    def _tell_failure(self, error: BaseException, level: int = logging.WARNING) -> None:
        logger.log(
            level,
            "refresh.failed key=%s slot=%s token=%s attempt=%d error=%s",
            self.key,
            self.claim.slot,
            self.claim.token,
            self.claim.attempts + 1,
            describe(error),
        )

    def _give_up(self) -> None:
        """``compute_limit`` is over: the lease is given up, whoever waits is told, a late result will be
        refused.
        """
        if self.ended:
            return
        self.ended = True
        limit = seconds(self.primer.compute_limit)
        error = ComputeTimeout(
            f"{str(self.key)!r} was not computed within its compute_limit of {limit:g} s; a late result is refused.",
            key=self.key,
            cause="ComputeTimeout",
        )
        self.outcome.error, self.outcome.kind = error, "failed"
        self._tell_failure(error)
        self._record_failure(error, "")
        if self.timed_out is not None:
            self.timed_out(error)

    def _record_failure(self, error: BaseException, shown: str) -> None:
        primer, key, claim = self.primer, self.key, self.claim
        attempts = claim.attempts + 1
        due, nominal = primer.upcoming(key, instant(claim.nominal), instant(claim.started))
        retry = attempts % (primer.retries + 1) != 0
        park = attempts >= primer.park_after or (not retry and due is None)
        claim.ended = True
        with (
            suppress(DatabaseError, InterfaceError, private.Busy),
            self.sessions() as session,
            session.transaction(),
        ):
            told = refreshes.fail(
                session,
                claim,
                error=f"{describe(error)}\n{shown[-2000:]}" if shown else describe(error),
                backoff=backoff_seconds(primer, attempts),
                retry=retry and not park,
                park=park,
                next_due=due,
                nominal=nominal,
                schedule=self._schedule,
            )
            self._append_run(session, "failed" if told is not None else "fenced", describe(error), shown)
            if told is None:
                refreshes.survived(session, claim)
            if park and told is not None:
                logger.error("refresh.parked key=%s attempts=%d why=failed: kck retry %s", key, attempts, key)

    def _append_run(self, session: Session, outcome: str, error: str = "", traceback: str = "") -> None:
        stored, text = self.outcome.stored, self.outcome.text
        runs.append(
            session,
            self.key,
            token=self.claim.token,
            reason=self.claim.reason,
            outcome=outcome,
            started=self.claim.started,
            lane=self.claim.lane,
            nominal=self.claim.nominal,
            causes=self.seen.causes,
            error=error,
            traceback=traceback,
            version=stored.version if stored else None,
            size=len(text) if text is not None else None,
            worker=self.worker,
            statements=self.statements,
        )


def alias_of_key(key: Key) -> str:
    """Return the database that holds a product."""
    return spread.alias_of(registry.primers.get(key.key_base))


def sqlstate(error: BaseException) -> str | None:
    """Return the SQLSTATE of a database error, from either driver; None where the server did not say one."""
    cause = error.__cause__
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)


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
        outcome.text, _state = encode(key, primer, primer.codec, value)
    except CycleError as error:
        outcome.error = error
    except RAISED as error:
        if sqlstate(error) in SERIALIZATION and connections[alias].in_atomic_block:
            raise  # it has ended the transaction around us: whoever began that begins it once more
        outcome.error = failure_of(key, error)
    outcome.now = time.time()
    return outcome
