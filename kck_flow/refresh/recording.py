"""A captured stock on a schedule: at each of its instants, what its keys hold becomes a record each.

Nothing is computed. All keys are read in one snapshot, at the instant or as soon after it as a worker comes to it;
``written_at`` says when. The stamp is the schedule's instant in any case. A period that nobody came to in time has no
record: what is there now is not what was there then.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime

from ..cache import counted, recount
from ..cache.beats import beats
from ..cache.compute import RAISED, Sessions
from ..cache.failures import backoff_seconds, describe
from ..definition import Definition
from ..errors import InvalidKey, NotPrimed
from ..hooks import run as run_hook
from ..hooks import wanted
from ..key import Key, build
from ..registry import registry
from ..stock import Stock
from ..store import families, generations, levels, records, refreshes, runs
from ..store.refreshes import Claim, Ending, instant
from ..store.session import Session, caller
from ..storing import encode
from . import plan

logger = logging.getLogger("kck_flow")

BATCH = 1000
MISSED_LIMIT = 10_000


def recorded(claim: Claim) -> tuple[Stock, Definition, str] | None:
    """Return (stock, definition, alias) where a slot is that of a captured stock's records, and a period has begun."""
    if plan.is_plan(claim.key):
        return counted.captured(plan.planned(claim.key))
    if claim.nominal is None or claim.nominal > claim.started or claim.key.params:
        return None
    found = counted.captured(registry.primers.get(claim.key.key_base))
    return found if found is not None and found[0].schedule is not None else None


def carry_out(
    claim: Claim,
    stock: Stock,
    found: Definition,
    alias: str,
    sessions: Sessions,
    *,
    own_thread: bool,
    watched: bool,
    worker: str,
) -> str:
    """Record what a captured stock holds, once a period; returns the outcome: ``done, skipped, released, fenced,
    failed``.
    """
    begun = time.monotonic()
    if watched:
        beats().hold(alias, claim)
    try:
        with sessions() as session:
            in_force = families.known(session).get(stock.name)
            if in_force is not None and in_force.schedule != stock.schedule_digest():
                # Another release has put another schedule in force: its workers record by it.
                refreshes.release(session, claim, delay=5.0)
                return "released"
        period = _period(stock, claim)
        if period is None:
            with sessions() as session:
                refreshes.finish(session, claim, _ending(stock, claim, None, begun))
            return "skipped"
        at, held = _held(stock, found, alias, watched)
        return _write(
            claim, stock, found, alias, period, at, held, begun, own_thread=own_thread, worker=worker
        )
    except RAISED as error:
        logger.warning("record.failed family=%s error=%s", stock.name, describe(error))
        _fail(claim, stock, sessions, describe(error), worker)
        return "failed"
    finally:
        if watched:
            beats().let_go(alias, claim)


def _period(stock: Stock, claim: Claim) -> tuple[datetime, datetime | None] | None:
    """Return (beginning, end) of the period that has begun last; None where none is to be recorded."""
    nominal, now = instant(claim.nominal), instant(claim.started)
    if stock.schedule is None or nominal is None or now is None or nominal > now:
        return None
    start = max(stock.schedule.previous(now) or nominal, nominal)
    if start > nominal:
        missed = len(stock.schedule.between(nominal, start, limit=MISSED_LIMIT))
        if stock.catchup == "skip":
            logger.info(
                "catchup.skipped key=%s nominal=%s next=%s", claim.key, nominal, stock.schedule.next(now)
            )
            return None
        logger.info("catchup.coalesced key=%s count=%d nominal=%s", claim.key, missed + 1, nominal)
    return start, stock.schedule.next(start)


def _held(
    stock: Stock, found: Definition, alias: str, watched: bool
) -> tuple[float, list[tuple[Key, str | None]]]:
    """Return (instant, what each key holds then as text), the family counted first where it is not.

    Raises:
        NotPrimed: it cannot be.
    """
    session = caller(alias)
    read = _read(session, found)
    if read is None:
        outcome = _count(stock, found, alias, watched)
        read = _read(session, found)
        if read is None:
            raise NotPrimed(
                f"{stock.name!r} is not counted ({outcome}), and nothing was recorded. "
                f"Why: manage.py kck stocks {stock.name}"
            )
    standing, keys = read
    shape = stock.shape.settled()
    held: list[tuple[Key, str | None]] = []
    if not stock.parameters:
        rows = keys[0][1] if keys else []
        key = stock.build_key()
        held.append((key, encode(key, stock, stock.codec, shape.display(rows))[0]))
        return standing.now, held
    for args, rows in keys:
        try:
            key = build(stock.name, stock.parameters, args)
        except InvalidKey:
            continue  # rows whose column is NULL, say: no key leads to them
        held.append((key, encode(key, stock, stock.codec, shape.display(rows))[0]))
    return standing.now, [(records.marker(stock.name), str(len(held))), *held]


def _read(session: Session, found: Definition) -> tuple[levels.Held, list[levels.OfKey]] | None:
    captured = generations.captured_by(session, found.relation, found.generation)
    read = levels.read_all(session, found.generation, timed=found.timed)
    return read if read is not None and read[0].holds(captured) else None


def _count(stock: Stock, found: Definition, alias: str, watched: bool) -> str:
    if not watched:
        return "done" if recount.in_test(stock, found, alias) else "not captured: manage.py migrate"
    return recount.now(stock, found, alias, reason="schedule", force=True) or "somebody else counts it"


def _write(
    claim: Claim,
    stock: Stock,
    found: Definition,
    alias: str,
    period: tuple[datetime, datetime | None],
    at: float,
    held: list[tuple[Key, str | None]],
    begun: float,
    *,
    own_thread: bool,
    worker: str,
) -> str:
    """Append the records and end the lease, together: whoever has lost it has recorded nothing."""
    start, end = period
    session = caller(alias)
    alone = own_thread and not session.connection.in_atomic_block
    told = wanted(stock, "post_record")
    with session.transaction():
        if alone:
            # Whatever the project's transactions are: beats touch the slot, and must not end this one.
            session.run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        for first in range(0, len(held), BATCH):
            written = records.append_period(
                session,
                stock.name,
                held[first : first + BATCH],
                start=start,
                end=end,
                primer_version=stock.version,
                generation=found.generation,
                at=at,
            )
            for number, key in written if told else ():
                if not key.key_base.startswith("!"):
                    run_hook(stock, "post_record", key, session=session, record=number)
        good = refreshes.finish(session, claim, _ending(stock, claim, start, begun)) is not None
        if good:
            if stock.domain is not None:
                # It was walked once, before the stock was captured.
                refreshes.unschedule(session, stock.name, [])
            runs.of_claim(session, claim, "done", reason=claim.reason or "schedule", worker=worker)
        else:
            session.connection.set_rollback(True)
    if not good:
        logger.warning("refresh.fenced key=%s slot=%s token=%s", claim.key, claim.slot, claim.token)
        return "fenced"
    logger.debug("record.written family=%s records=%d nominal=%s", stock.name, len(held), start)
    return "done"


def _ending(stock: Stock, claim: Claim, start: datetime | None, begun: float) -> Ending:
    """Return how the slot goes on: it waits for the next instant that lies ahead."""
    nominal, now = start or instant(claim.nominal), instant(claim.started)
    due = following = None
    if stock.schedule is not None and nominal is not None and now is not None:
        following = nominal if nominal > now else stock.schedule.next(max(nominal, now))
        due = stock.schedule.jittered(following, claim.key) if following is not None else None
    lane = refreshes.TRIGGERED if plan.is_plan(claim.key) else stock.priority
    cost = (time.monotonic() - begun) * 1000
    return Ending(lane, due, following, cost, schedule=stock.schedule_digest())


def _fail(claim: Claim, stock: Stock, sessions: Sessions, error: str, worker: str) -> None:
    """Try again with back-off: within its period, or for the next."""
    ending = _ending(stock, claim, None, time.monotonic())
    claim.ended = True
    with sessions() as session, session.transaction():
        refreshes.fail(
            session,
            claim,
            error=error,
            backoff=backoff_seconds(stock, claim.attempts + 1),
            retry=True,
            park=False,
            next_due=ending.next_due,
            nominal=instant(claim.nominal),
            schedule=ending.schedule,
        )
        runs.of_claim(session, claim, "failed", reason=claim.reason or "schedule", error=error, worker=worker)
