"""A claimed time frame is computed, closed and cleaned up after: the one way, for readers, workers and tests.

    claim -> in hand: a token of its own -> compute or merge -> record and row, together -> cleanup -> slot gone

What ``compute`` writes to the same database commits with the frame, under the token that was put into its row before:
whoever has lost the lease meanwhile finds another there, and everything is rolled back. The slot is ended afterwards,
since beats touch it and must never meet the snapshot; should the process die in between, whoever claims it next sees
that the value is there, and does only what is left to do.
"""

from __future__ import annotations

import logging
import time
import traceback as tracebacks
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.db import DatabaseError, InterfaceError, connections, transaction

from .. import hooks, spread, waking
from .. import key as keys
from ..entry import Entry
from ..errors import ComputeTimeout
from ..key import Key
from ..progress import running
from ..registry import registry
from ..store import families, frames, pending, private, refreshes, runs
from ..store.frames import Begun
from ..store.refreshes import Claim, Ending, instant
from ..store.session import Session, caller
from ..storing import encode, seconds
from ..timeframe import TimeFrame
from . import horizon
from .beats import beats
from .compute import RAISED, SERIALIZATION, Sessions, sqlstate
from .failures import backoff_seconds, describe
from .making import Making

logger = logging.getLogger("kck_flow")

TRIES = 5
# From so many tries on the row is held from the beginning: whoever tells of late items waits for the computation then.
HELD_FROM = 4
# Why a frame is claimed that somebody asked for in a transaction.
WISHED = "wished"
# Why a frame is claimed, where its own row says whether anything is to be computed. Any other reason is a wish.
OWN = frozenset(
    ("frame", "hole", "late", "part", "again", "backfill", "unskipped", "miss", "retry", "manual")
)


def slot_base(name: str) -> str:
    """Return the key base of that slot."""
    return f"{keys.INTERNAL}{frames.FRAMES}{name}"


def is_planner(key: Key) -> bool:
    """Whether a slot plans frames."""
    return key.key_base.startswith(f"{keys.INTERNAL}{frames.FRAMES}")


class Framing(Making):
    """One claimed frame on its way from claim to record.

    Args:
        sessions: How the store is reached; for a ``TestCase`` the test's own connection.
        own_thread: Whether this thread's ordinary connection is ours to use.
        watched: Whether the lease is beaten (not in a test, where leases mean nothing).
        timed_out: Called from another thread when ``compute_limit`` is over.
    """

    def __init__(
        self,
        claim: Claim,
        primer: TimeFrame,
        alias: str,
        sessions: Sessions,
        *,
        own_thread: bool = True,
        watched: bool = True,
        worker: str = "",
        timed_out: Callable[[ComputeTimeout], None] | None = None,
    ) -> None:
        super().__init__(claim.key, primer, alias)
        self.claim, self.sessions = claim, sessions
        self.own_thread, self.watched, self.worker, self.timed_out = own_thread, watched, worker, timed_out
        self.begun: Begun
        self.record: Any = None
        self.error: BaseException | None = None
        self.outcome = ""
        self._ended = False
        self._begun_at = time.monotonic()

    def carry_out(self) -> str:
        """Compute, close and clean up; ends the claim, whatever happens. Returns the outcome: ``done, unchanged,
        skipped, kept, failed, fenced, released``.
        """
        limit = seconds(self.primer.compute_limit)
        if self.watched:
            overdue = self._give_up if limit is not None else None
            beats().hold(self.alias, self.claim, limit=limit, overdue=overdue)
        token = running.set(self.claim)
        try:
            self.outcome = self._carry_out()
        except RAISED as error:
            if not self._ended:
                self._fail(error)
            self.error = self.error or error
            self.outcome = "failed"
        finally:
            self._ended = True
            running.reset(token)
            if self.watched:
                beats().let_go(self.alias, self.claim)
        return self.outcome

    def _carry_out(self) -> str:
        with self.sessions() as session:
            family = families.row(session, self.primer.name)
            if family is not None and family[2] > self.primer.version:
                # A newer release computes its frames: this one would do it as it was done before.
                refreshes.release(session, self.claim, delay=5.0)
                return "released"
        if not self._take(wish=self.claim.reason not in OWN):
            return self._fenced()
        if self.begun.state == frames.SKIPPED:
            return self._finish("skipped")
        if self.begun.state == frames.CLOSED and self.begun.have >= self.begun.want:
            # Closed by somebody who died before it was all over, or whose cleanup failed.
            return self._after("unchanged", changed=True, clean=not self.begun.cleaned)
        outcome = ""
        for attempt in range(1, TRIES + 1):
            try:
                outcome = self._once(held=attempt >= HELD_FROM)
                break
            except DatabaseError as error:
                if sqlstate(error) not in SERIALIZATION or attempt == TRIES or not self.own_thread:
                    raise
                logger.info(
                    "compute.retried key=%s attempt=%d sqlstate=%s", self.key, attempt, sqlstate(error)
                )
                if self._ended or not self._still_ours() or not self._take():
                    return self._fenced()
                if self.begun.state == frames.SKIPPED:
                    return self._finish("skipped")
        if outcome == "fenced":
            return self._fenced()
        if outcome in ("skipped", "kept"):
            return self._finish(outcome)
        return self._after(
            outcome, changed=outcome == "done", clean=outcome == "done" or not self.begun.cleaned
        )

    def _take(self, wish: bool = False) -> bool:
        with self.sessions() as session:
            begun = frames.begin(
                session, self.claim, self.args, self.series, self.start, self.end, self.primer.version
            )
            if begun is not None and wish and begun.state == frames.CLOSED and begun.have >= begun.want:
                frames.want(session, self.key)
                begun = frames.begin(
                    session, self.claim, self.args, self.series, self.start, self.end, self.primer.version
                )
        if begun is not None:
            self.begun = begun
        return begun is not None

    def _still_ours(self) -> bool:
        """Whether the lease is ours, asked of the slot itself: where the whole process stood still, its beats know
        nothing yet. If it is, it has just been extended.
        """
        if not self.watched:
            return True
        if self.claim.lost:
            return False
        try:
            with self.sessions() as session:
                return bool(refreshes.beat(session, [self.claim]))
        except private.Busy:
            return True  # no news; the token in the frame's row decides

    # -- the transaction

    def _once(self, *, held: bool) -> str:
        primer, alias = self.primer, self.alias
        finer = horizon.finer_of(primer, self.size)
        stream = primer.stream_of(self.params) if finer is None else None
        snapshot = stream is None or stream.database == alias
        alone = self.own_thread and not connections[alias].in_atomic_block
        begun_at = time.monotonic()
        with transaction.atomic(using=alias):
            session = caller(alias)
            if alone:
                level = "REPEATABLE READ" if snapshot else "READ COMMITTED"
                session.run(f"SET TRANSACTION ISOLATION LEVEL {level}")
            if held and not frames.hold(session, self.key, self.begun.fence):
                return "fenced"
            hooks.run(primer, "pre_refresh", self.key, session=session)
            if stream is not None:
                gone = self.gone(session, stream)
                if gone:
                    return self._leave(session, gone)
                value, items, complete = self.computed(stream)
                # What was deleted while it was read is no zero.
                with self.sessions() as outside:
                    gone = self.gone(outside, stream)
                if gone:
                    transaction.set_rollback(True, using=alias)
            else:
                assert finer is not None
                gone = self._parts_gone(session, *finer)
                if gone:
                    return self._leave(session, gone)
                value, items, complete = self.merged(session, *finer)
            if not gone:
                compute_ms = (time.monotonic() - begun_at) * 1000
                outcome = self._write(session, value, items, complete, compute_ms)
                if outcome == "fenced":
                    transaction.set_rollback(True, using=alias)
                return outcome
        with transaction.atomic(using=alias):
            return self._leave(caller(alias), gone)

    def _leave(self, session: Session, why: str) -> str:
        state = frames.leave(session, self.key, self.begun, why, self.primer.record_model)
        if state is None:
            return "fenced"
        if state == frames.CLOSED:
            logger.warning("frame.kept key=%s why=%s: it keeps the value that it has", self.key, why)
            return "kept"
        logger.warning("frame.skipped key=%s why=%s", self.key, why)
        return "skipped"

    def _parts_gone(self, session: Session, base: TimeFrame, size: str) -> str:
        """Return why a frame cannot be merged: of one that has a value, a part is gone; of a new one, all are.
        What is gone is no zero, and no reason to lose what it was.
        """
        of = base.series_key(self.params, size)
        found = frames.summed(session, of, self.start, self.end, base.record_model)
        was = self.begun.state == frames.CLOSED and frames.is_held(
            session, self.key, self.primer.record_model
        )
        begins = self.begins(session, base, size)
        if was and begins >= self.end:
            begins = self.start  # of the past that was filled in, all were there
        known = found.decided - found.lost if was else found.decided
        if known >= self.parts_from(base, size, begins) or (found.decided and not was):
            return ""
        return f"frames of {base.name!r} that it is merged from are gone"

    def _write(self, session: Session, value: Any, items: int, complete: bool, compute_ms: float) -> str:
        primer, key = self.primer, self.key
        if self._ended or not self._still_ours():
            return "fenced"
        listened = bool(registry.on_product(key.key_base)) or hooks.anything(primer)
        old = self._old(session) if listened else None
        given: dict[str, Any] = {
            "start": self.start,
            "end": self.end,
            "primer_version": primer.version,
            "complete": complete,
        }
        if primer.record_model is not None:
            row = self.row(value)
            self.record, revision, changed = frames.append_typed(session, key, row, **given)
            shown: Any = frames.own_columns(self.record)
            number = self.record.pk
        else:
            hooks.run(primer, "pre_write", key, session=session, value=value)
            text, _ = encode(key, primer, primer.codec, value)
            number, revision, changed = frames.append(session, key, text=text, **given)
            self.record, shown = number, value
        want = frames.close(
            session,
            key,
            self.begun,
            revision=revision,
            changed=changed,
            items=items,
            complete=complete,
            primer_version=primer.version,
            compute_ms=compute_ms,
            clean=not primer.cleans,
        )
        if want is None:
            return "fenced"
        if changed and listened:
            self._tell(session, shown, old, revision, number)
        # An older revision may be what holds again, where the record of the last was deleted.
        return "done" if changed or revision != self.begun.revision else "unchanged"

    def _old(self, session: Session) -> Any:
        held = next(
            frames.series(
                session, self.series, self.start, self.end, self.primer.codec.decode, self.primer.record_model
            ),
            None,
        )
        return held.value if held is not None else None

    def _tell(self, session: Session, value: Any, old: Any, revision: int, record: int) -> None:
        """What commits with the frame: marks of what is declared to depend on it, and the effects of hooks."""
        primer, key = self.primer, self.key
        at = instant(self.claim.started)
        assert at is not None
        spread.declared_from_product(
            session, key, version=revision, old=old, new=value, at=at, reason=f"{key} changed"
        )
        if hooks.anything(primer):
            entry = Entry(str(key), value, revision, at, None, None, "fresh", timedelta(0))
            hooks.run(primer, "post_record", key, session=session, record=record)
            hooks.run(primer, "post_write", key, session=session, entry=entry, old=old)
            hooks.run(primer, "post_refresh", key, session=session, entry=entry, old=old)

    # -- after the commit

    def _after(self, outcome: str, *, changed: bool, clean: bool) -> str:
        """What a closed frame brings about: each of it is asked for once more where somebody died on the way."""
        if changed:
            with self.sessions() as session:
                if pending.append_downstream(
                    session, self.key.digest, source=str(self.key), reason=f"{self.key} changed"
                ):
                    waking.soon(session)
                for other, sizes in horizon.coarser_of(self.primer, self.size):
                    of = [other.series_key(self.params, size) for size in sizes]
                    longest = other.longest()
                    if spread.alias_of(other) == self.alias and frames.ask_coarser(
                        session, of, self.start, self.end, longest=longest, lane=other.priority
                    ):
                        waking.soon(session)
        if clean and self.primer.cleans:
            error = self._clean_up()
            if error is not None:
                self._fail(error, of_cleanup=True)
                self.error = error
                return "failed"
        return self._finish(outcome)

    def _clean_up(self) -> BaseException | None:
        begun_at = time.monotonic()
        error: BaseException | None = None
        try:
            # Read here: whoever died after the commit had it in hand.
            with transaction.atomic(using=self.alias):
                self.primer.cleanup(self.key, self._recorded())
        except RAISED as raised:
            error = raised
            logger.warning("frame.cleanup_failed key=%s error=%s", self.key, describe(raised))
        with self.sessions() as session:
            cleanup_ms = (time.monotonic() - begun_at) * 1000
            shown = describe(error) if error is not None else ""
            frames.cleaned(session, self.key, cleanup_ms=cleanup_ms, error=shown)
        return error

    def _recorded(self) -> Any:
        session, model = caller(self.alias), self.primer.record_model
        if model is not None:
            return frames.typed_of(session, model, [self.key.digest]).get(self.key.digest)
        return frames.record_of(session, self.key)

    def _finish(self, outcome: str) -> str:
        if self._ended:
            return outcome
        self._ended = True
        cost = (time.monotonic() - self._begun_at) * 1000
        try:
            with self.sessions() as session, session.transaction():
                if frames.drop_slot(session, self.claim):
                    self.claim.ended = True
                else:
                    refreshes.finish(session, self.claim, Ending(self.primer.priority, None, None, cost))
                told = {"kept": "unchanged", "skipped": "unchanged"}.get(outcome, outcome)
                runs.of_claim(session, self.claim, told, worker=self.worker)
                self._wake(session)
        except (DatabaseError, InterfaceError, private.Busy) as error:
            # The value is there; the slot's lease ends by itself, and the next claim finds that all is done.
            logger.error("refresh.unfinished key=%s error=%s", self.key, str(error).strip())
        return outcome

    def _wake(self, session: Session) -> None:
        """Have more planned, where few frames are left in the queue, or coarser ones may be complete now."""
        # Not those that are parked: they may stay so.
        left = frames.waiting(session, self.primer.name)
        if left and left != self.primer.max_pending // 2:
            return
        names = {self.primer.name, *(other.name for other, _ in horizon.coarser_of(self.primer, self.size))}
        for name in sorted(names):
            frames.wake(session, name)

    def _fenced(self) -> str:
        self._ended = self.claim.ended = True
        logger.warning("refresh.fenced key=%s slot=%s token=%s", self.key, self.claim.slot, self.claim.token)
        with suppress(DatabaseError, InterfaceError, private.Busy), self.sessions() as session:
            refreshes.survived(session, self.claim)
            runs.of_claim(session, self.claim, "fenced", worker=self.worker)
        return "fenced"

    # -- failures

    def _fail(self, error: BaseException, *, of_cleanup: bool = False) -> None:
        self._ended = True
        primer, claim, attempts = self.primer, self.claim, self.claim.attempts + 1
        if not of_cleanup:
            logger.warning(
                "refresh.failed key=%s slot=%s token=%s attempt=%d error=%s",
                self.key,
                claim.slot,
                claim.token,
                attempts,
                describe(error),
            )
        shown = "".join(tracebacks.format_exception(error))
        park = attempts >= primer.park_after or attempts % (primer.retries + 1) == 0
        claim.ended = True
        with (
            suppress(DatabaseError, InterfaceError, private.Busy),
            self.sessions() as session,
            session.transaction(),
        ):
            cause = f"cleanup: {describe(error)}" if of_cleanup else describe(error)
            told = refreshes.fail(
                session,
                claim,
                error=f"{cause}\n{shown[-2000:]}",
                backoff=backoff_seconds(primer, attempts),
                retry=not park,
                park=park,
                next_due=None,
                nominal=None,
            )
            outcome = "failed" if told is not None else "fenced"
            runs.of_claim(session, claim, outcome, error=cause, traceback=shown, worker=self.worker)
            if told is None:
                refreshes.survived(session, claim)
            elif park:
                logger.error(
                    "refresh.parked key=%s attempts=%d why=failed: kck retry %s", self.key, attempts, self.key
                )
                self._wake(session)  # what it kept from being planned need not wait for it

    def _give_up(self) -> None:
        """``compute_limit`` is over: the lease is given up, a late result will be refused."""
        if self._ended:
            return
        limit = seconds(self.primer.compute_limit)
        error = ComputeTimeout(
            f"{str(self.key)!r} was not computed within its compute_limit of {limit:g} s; a late result is refused.",
            key=self.key,
            cause="ComputeTimeout",
        )
        self.error = error
        self._fail(error)
        if self.timed_out is not None:
            self.timed_out(error)
