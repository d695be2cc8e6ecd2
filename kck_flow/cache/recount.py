"""A counted family is primed: every key and facet in one pass over its table, published in the snapshot it was made in.

The lease is that of a slot of our own, ``!count:<name>``; beside it stands the family's fence, which keeps folds away
and which beats never touch. What the snapshot saw of the deltas is in the count, and is deleted with it; what commits
later is counted by its own delta.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from django.db import Error as DatabaseErrors
from django.db import transaction

from .. import key as keys
from ..changes import books, telling
from ..conf import conf
from ..definition import Definition
from ..key import Key
from ..stock import Stock
from ..store import generations, levels, private, refreshes, runs
from ..store.refreshes import Claim, Ending
from ..store.session import Session, caller
from . import flight
from .beats import beats
from .compute import RAISED, SERIALIZATION, TRIES, sqlstate
from .failures import backoff_seconds, describe
from .pool import pool

logger = logging.getLogger("kck_flow")

COUNT = "count:"
_asked: dict[tuple[str, int], tuple[float, threading.Event]] = {}
_lock = threading.Lock()
ASK_AGAIN_SECONDS = 1.0
# From how long a count took last, or how many rows its table has, it lets folds go on meanwhile.
CUT_SECONDS, CUT_ROWS = 1.0, 1_000_000
_SNAPSHOT = re.compile(r"[0-9A-F-]+")


def slot_key(name: str) -> Key:
    """Return the key of the slot under whose lease a family is counted."""
    return keys.internal(f"{COUNT}{name}")


def slot_base(name: str) -> str:
    """Return the key base of that slot."""
    return f"{keys.INTERNAL}{COUNT}{name}"


def is_count(key: Key) -> bool:
    """Whether a slot is that of a counted family."""
    return key.key_base.startswith(f"{keys.INTERNAL}{COUNT}")


def soon(stock: Stock, found: Definition, alias: str, reason: str = "miss") -> threading.Event:
    """Have a family counted in a thread of this process, once a second at most; returns what is set when it is over."""
    began = time.monotonic()
    with _lock:
        asked = _asked.get((alias, found.generation))
        if asked is not None and (began - asked[0] < ASK_AGAIN_SECONDS or not asked[1].is_set()):
            return asked[1]
        over = threading.Event()
        _asked[alias, found.generation] = began, over
    pool().submit(lambda: _quietly(stock, found, alias, reason, over))
    return over


def _quietly(stock: Stock, found: Definition, alias: str, reason: str, over: threading.Event) -> None:
    try:
        now(stock, found, alias, reason=reason)
    except (private.Busy, DatabaseErrors) as error:
        logger.debug("recount.not_begun family=%s error=%r", stock.name, error)
    finally:
        over.set()


def now(stock: Stock, found: Definition, alias: str, *, reason: str, force: bool = False) -> str | None:
    """Count a family here, on this thread's connection; returns the outcome, or None where somebody else counts it, or
    it failed a moment ago (unless ``force``).
    """
    with private.session(alias, timeout=conf.CLAIM_TIMEOUT) as session:
        claim = refreshes.claim(
            session,
            slot_key(stock.name),
            {},
            lease=conf.LEASE_SECONDS,
            owner=flight.owner(),
            limit=None,
            reason=reason,
            force=force,
        )
    return carry_out(claim, stock, found, alias) if claim is not None else None


def patiently(stock: Stock, found: Definition, alias: str, *, reason: str, apart: bool) -> str:
    """Count a family, after whoever counts it now; returns the outcome: ``done, failed, skipped``.

    Args:
        apart: Whether in a thread of the cache's own: the caller's connection may be set up in any way.

    Raises:
        Busy, DatabaseErrors: it could not begin.
    """

    def work() -> str | None:
        return now(stock, found, alias, reason=reason, force=True)

    while True:
        outcome = _apart(work) if apart else work()
        if outcome in ("done", "failed", "skipped"):
            return outcome
        time.sleep(0.05)  # somebody else counts; it may have begun before we were asked


def _apart(work: Callable[[], str | None]) -> str | None:
    done: Future[str | None] = Future()

    def carry_out() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    pool().submit(carry_out)
    return done.result()


def failure(key: Key, stock: Stock, alias: str) -> BaseException:
    """Return the error of a family whose count failed a moment ago."""
    slot = slot_key(stock.name)
    with private.session(alias) as session:
        met = refreshes.standing(session, [slot.digest])[str(slot.digest)]
    error = flight.failed(key, stock, met).error
    assert error is not None
    return error


def carry_out(claim: Claim, stock: Stock, found: Definition, alias: str, *, worker: str = "") -> str:
    """Count a family under a lease, publish, and end the lease; returns the outcome: ``done, fenced, failed``, or
    ``skipped`` where nothing captures what would be written after it.
    """
    began = time.monotonic()
    beats().hold(alias, claim)
    try:
        outcome = _count(claim, stock, found, alias)
        error = "not captured: manage.py migrate" if outcome == "skipped" else ""
    except RAISED as failure:
        outcome, error = "failed", describe(failure)
        logger.warning("recount.failed family=%s error=%s", stock.name, error)
    finally:
        beats().let_go(alias, claim)
    claim.ended = True
    with suppress(private.Busy, DatabaseErrors), private.session(alias) as session, session.transaction():
        if outcome == "failed":
            pause = backoff_seconds(stock, claim.attempts + 1)
            refreshes.fail(
                session,
                claim,
                error=error,
                backoff=pause,
                retry=True,
                park=False,
                next_due=None,
                nominal=None,
            )
        elif (
            refreshes.finish(
                session, claim, Ending(refreshes.TRIGGERED, None, None, (time.monotonic() - began) * 1000)
            )
            is None
        ):
            refreshes.survived(session, claim)
        if outcome != "done":
            generations.unfence(session, found.generation, claim.token)
        runs.of_claim(session, claim, outcome, error=error, worker=worker)
    if outcome == "done":
        books.try_to_open(stock, alias)  # now that it is counted, its flows can account for it
    return outcome


def end_leaseless(session: Session) -> None:
    """Let folds go on where a count died and its lease was ended."""
    generations.end_leaseless(session, lambda name: slot_key(name).digest)


def _count(claim: Claim, stock: Stock, found: Definition, alias: str) -> str:
    with private.session(alias) as session:
        if not generations.fence(session, found.generation, claim.token):
            return "fenced"
        if not _captured(session, found):
            return "skipped"
    for attempt in range(1, TRIES + 1):
        try:
            with transaction.atomic(using=alias):
                own = caller(alias)
                own.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                # What a policy hides from this role is in the stock all the same: better no count than one of a part.
                own.run("SET LOCAL row_security = off")
                # No partition comes or goes between the look at what captures them and the count of their rows.
                own.run(f"LOCK TABLE {found.relation} IN ACCESS SHARE MODE")
                captured = _captured(own, found)
                if not captured:
                    return "skipped"
                if not _takes_long(own, claim, found):
                    if not telling.publish(
                        own, stock.name, found.generation, claim.token, found.recount(), captured
                    ):
                        transaction.set_rollback(True, using=alias)
                        return "fenced"
                    return "done"
                if not _cut(own, found, claim.token, alias):
                    return "fenced"
                voids, at = levels.stage(own, found.generation, claim.token, found.recount())
            with private.session(alias) as session, session.transaction():
                good = telling.publish_staged(
                    session, stock.name, found.generation, claim.token, captured, voids, at
                )
            return "done" if good else "fenced"
        except DatabaseErrors as error:
            if sqlstate(error) not in SERIALIZATION or attempt == TRIES:
                raise
            # A thief, or whoever ended our lease, has touched the fence. A blind try would count without a lease.
            with private.session(alias) as session:
                if claim.lost or not refreshes.beat(session, [claim]):
                    return "fenced"
    raise AssertionError("unreachable")


def _takes_long(session: Session, claim: Claim, found: Definition) -> bool:
    if claim.cost_ms is not None:
        return claim.cost_ms > CUT_SECONDS * 1000
    return levels.rows_about(session, found.relation) >= CUT_ROWS


def _cut(counting: Session, found: Definition, token: int, alias: str) -> bool:
    """Have folds go on while the rest of a recount's transaction counts: what its snapshot sees of the deltas is taken
    in another transaction, which shares it. False where the lease is not ours any more.
    """
    snapshot = counting.run("SELECT pg_export_snapshot()")[0][0]
    assert _SNAPSHOT.fullmatch(snapshot)
    with private.session(alias, timeout=conf.CLAIM_TIMEOUT) as session, session.transaction():
        session.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        session.run(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
        return levels.cut(session, found.generation, token)


def _captured(session: Session, found: Definition) -> str:
    """Return what captures a family, in the count's own snapshot; empty: what is written from now on would be lost."""
    return generations.captured_by(session, found.relation, found.generation)


def in_test(stock: Stock, found: Definition, alias: str) -> bool:
    """Count a family inside a ``TestCase``, in the test's own transaction; False where it is not captured."""
    session = caller(alias)
    captured = _captured(session, found)
    if not captured or not telling.publish(
        session, found.key_base, found.generation, None, found.recount(), captured
    ):
        return False
    books.try_to_open(stock, alias)
    return True


def forget() -> None:
    """Forget what this process asked for (between tests)."""
    with _lock:
        _asked.clear()
