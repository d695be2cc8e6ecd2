"""A claimed refresh is carried out: a product computed and published, a domain walked, an action's period
begun.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from .. import clock
from ..cache import counted, flows, framing, recount
from ..cache.beats import beats
from ..cache.compute import Computation, Sessions
from ..cache.failures import backoff_seconds, describe
from ..decorators import Action
from ..errors import ComputeTimeout
from ..key import Key
from ..metric import Metric
from ..primer import Primer
from ..process import Process
from ..progress import running
from ..registry import registry
from ..stock import Flow, Stock
from ..store import events, families, refreshes, runs
from ..store.refreshes import Claim, Ending, instant
from ..streams import planner
from ..timeframe import TimeFrame
from ..topic import Topic
from . import calls, collecting, plan, recording

logger = logging.getLogger("kck_flow")

MISSED_LIMIT = 10_000
ANOTHER_SECONDS = 30.0
LINES_PER_SECOND = 50
OK = ("done", "unchanged", "skipped", "kept", "planned", "begun")


def run(
    claim: Claim,
    alias: str,
    sessions: Sessions,
    *,
    own_thread: bool = True,
    watched: bool = True,
    worker: str = "",
    timed_out: Callable[[ComputeTimeout], None] | None = None,
) -> str:
    """Carry a claim out and end it; returns its outcome: ``done, unchanged, failed, fenced, superseded,
    skipped, planned, begun``; of a time frame also ``kept``.
    """
    key = claim.key
    begun = time.monotonic()
    if claim.crashes > refreshes.CRASH_LIMIT:
        return _set_aside(claim, sessions)
    recorded = recording.recorded(claim)
    if recorded is not None:
        done = recording.carry_out(
            claim, *recorded, sessions, own_thread=own_thread, watched=watched, worker=worker
        )
        _log(claim, done, time.monotonic() - begun, worker)
        return done
    if plan.is_plan(key):
        return _walk(claim, sessions, watched, alias)
    if recount.is_count(key):
        return _count(claim, alias, sessions, watched, worker)
    if framing.is_planner(key):
        return _plan_frames(claim, alias, sessions, watched, worker)
    if events.is_events(key):
        return _call(claim, alias, sessions, watched, worker)
    primer = registry.primers.get(key.key_base)
    if primer is None:
        with sessions() as session:
            refreshes.release(session, claim, delay=5.0)
        return "released"
    if isinstance(primer, TimeFrame):
        framed = framing.Framing(
            claim, primer, alias, sessions, own_thread=own_thread, watched=watched, worker=worker, timed_out=timed_out
        )  # fmt: skip
        done = framed.carry_out()
        _log(claim, done, time.monotonic() - begun, worker)
        return done
    of_stock = counted.counted(key)
    if of_stock is not None:
        return _pass_on(claim, of_stock[0], sessions)
    if isinstance(primer, (Process, Topic)) or flows.counted(key) is not None:
        return _skip(primer, claim, sessions)  # there is nothing to compute it from
    if _is_of_another_release(primer, claim):
        late = claim.started - (claim.nominal or claim.started)
        with sessions() as session:
            # The longer nobody else has come, the less often it is offered: a release that was taken back for good
            # must not keep its successor busy.
            refreshes.release(session, claim, delay=min(max(0.5, late / 10), ANOTHER_SECONDS))
        return "released"
    if _too_late(primer, claim):
        return _skip(primer, claim, sessions)
    if isinstance(primer, Action) and primer.overlap == "parallel" and key.params.get("period") is None:
        return _begin_period(primer, claim, sessions)
    _tell_missed(primer, claim)
    token = running.set(claim)
    try:
        computation = Computation(
            primer,
            key,
            claim,
            alias,
            sessions,
            own_thread=own_thread,
            hook="refresh",
            worker=worker,
            watched=watched,
            timed_out=timed_out,
        )
        outcome = computation.carry_out()
    finally:
        running.reset(token)
    _log(claim, outcome.kind, time.monotonic() - begun, worker)
    if isinstance(primer, Metric) and outcome.kind in OK:
        collecting.fill_quietly(key, primer)
    return outcome.kind


def _count(claim: Claim, alias: str, sessions: Sessions, watched: bool, worker: str) -> str:
    """Count a family of a stock anew."""
    begun = time.monotonic()
    stock = registry.primers.get(plan.served(claim.key.key_base))
    found = counted.definition_of(stock, alias) if isinstance(stock, Stock) else None
    if not isinstance(stock, Stock) or found is None:  # it was captured when this was asked for
        outcome = "skipped"
    elif watched:
        outcome = recount.carry_out(claim, stock, found, alias, worker=worker)
        _log(claim, outcome, time.monotonic() - begun, worker)
        return outcome
    else:
        outcome = "done" if recount.in_test(stock, found, alias) else "skipped"
    with sessions() as session:
        cost = (time.monotonic() - begun) * 1000
        refreshes.finish(session, claim, Ending(refreshes.TRIGGERED, None, None, cost))
    return outcome


def _plan_frames(claim: Claim, alias: str, sessions: Sessions, watched: bool, worker: str) -> str:
    """Plan a family of time frames."""
    if watched:
        beats().hold(alias, claim)
    try:
        return planner.carry_out(claim, alias, sessions, worker)
    finally:
        if watched:
            beats().let_go(alias, claim)


def _call(claim: Claim, alias: str, sessions: Sessions, watched: bool, worker: str) -> str:
    """Call the callables of a flow's events."""
    begun = time.monotonic()
    primer = registry.primers.get(plan.served(claim.key.key_base))
    flow = primer if isinstance(primer, Flow) else None
    outcome = calls.carry_out(claim, flow, alias, sessions, watched, worker)
    _log(claim, outcome, time.monotonic() - begun, worker)
    return outcome


def _pass_on(claim: Claim, stock: Stock, sessions: Sessions) -> str:
    """Have the family of a captured stock counted: one slot does that, whichever of its keys was wanted."""
    due, nominal = stock.upcoming(claim.key, instant(claim.nominal), instant(claim.started))
    digest = claim.schedule or stock.schedule_digest()
    with sessions() as session, session.transaction():
        ended = refreshes.finish(session, claim, Ending(stock.priority, due, nominal, 0, schedule=digest))
        if ended is not None:
            slot = recount.slot_key(stock.name)
            refreshes.request(session, slot, {}, lane=claim.lane, reason=claim.reason)
    return "begun"


def _is_of_another_release(primer: Primer, claim: Claim) -> bool:
    """Whether a due instant is of a schedule that this process does not know: its own workers serve it.

    Where none has for so long (the newer release was taken back), it is served and goes on by what is known here.
    """
    if (
        claim.nominal is None
        or claim.nominal > claim.started
        or claim.schedule in (None, primer.schedule_digest())
    ):
        return False
    return primer.schedule is None or claim.started - claim.nominal < ANOTHER_SECONDS


class _Sample:
    """At most so many lines a second about what went well; how many were left out is told with the next one."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._second = self._lines = self._left_out = 0

    def takes(self, now: float) -> bool:
        """Whether one more line is told at ``now`` (seconds of a monotonic clock)."""
        if int(now) != self._second:
            if self._left_out:
                logger.info("refresh.sampled left_out=%d", self._left_out)
            self._second, self._lines, self._left_out = int(now), 0, 0
        self._lines += 1
        self._left_out += self._lines > self.most
        return self._lines <= self.most


_sample = _Sample(LINES_PER_SECOND)


def _log(claim: Claim, outcome: str, seconds: float, worker: str) -> None:
    late = max(claim.started - claim.due, 0) if claim.due else 0
    if outcome in OK and _sample.takes(time.monotonic()):
        logger.info(
            "refresh.done key=%s outcome=%s slot=%s token=%s lane=%s reason=%s run_ms=%.0f lateness_ms=%.0f worker=%s",
            claim.key,
            outcome,
            claim.slot,
            claim.token,
            claim.lane,
            claim.reason or "schedule",
            seconds * 1000,
            late * 1000,
            worker or "-",
        )


def _tell_missed(primer: Primer, claim: Claim) -> None:
    """Log how many periods one refresh stands for, where it came so late."""
    nominal, started = instant(claim.nominal), instant(claim.started)
    if primer.schedule is None or primer.catchup != "coalesce" or nominal is None or started is None:
        return
    following = primer.schedule.next(nominal)
    if following is not None and following <= started:
        missed = len(primer.schedule.between(nominal, started, limit=MISSED_LIMIT))
        logger.info("catchup.coalesced key=%s count=%d nominal=%s", claim.key, missed + 1, nominal)


def _set_aside(claim: Claim, sessions: Sessions) -> str:
    error = f"its process ended without a word {claim.crashes - 1} times in a row"
    with sessions() as session, session.transaction():
        refreshes.park_crashed(session, claim, error)
        runs.of_claim(session, claim, "failed", error=error)
    logger.error(
        "refresh.parked key=%s why=crashed: %s. Revive it with: kck retry %s", claim.key, error, claim.key
    )
    return "failed"


def _walk(claim: Claim, sessions: Sessions, watched: bool, alias: str) -> str:
    primer = plan.planned(claim.key)
    if primer is None:
        with sessions() as session:
            refreshes.finish(session, claim, Ending(refreshes.TRIGGERED, None, None, 0))
        return "skipped"
    if watched:
        beats().hold(alias, claim)
    begun = time.monotonic()
    now = instant(claim.started)
    assert now is not None
    digest = primer.schedule_digest()
    try:
        with sessions() as session:
            in_force = families.known(session).get(primer.name)
            if in_force is not None and in_force.schedule != digest:
                # Another release has put another schedule in force: its workers walk the domain.
                refreshes.release(session, claim, delay=5.0)
                return "released"
            if primer.schedule is None:
                refreshes.finish(session, claim, Ending(refreshes.TRIGGERED, None, None, 0))
                return "skipped"
        found = plan.domain_of(primer)
        with sessions() as session:
            plan.walk(session, primer, instant(claim.nominal) or now, found)
            following = primer.schedule.next(now)
            cost = (time.monotonic() - begun) * 1000
            refreshes.finish(
                session, claim, Ending(refreshes.TRIGGERED, following, following, cost, schedule=digest)
            )
        return "planned"
    except Exception as error:
        # A domain that raises must neither end the worker nor be forgotten: tried again with back-off, shown
        # as a run.
        logger.exception("domain.failed family=%s", primer.name)
        with sessions() as session, session.transaction():
            pause = backoff_seconds(primer, claim.attempts + 1)
            nominal = instant(claim.nominal)
            refreshes.fail(
                session,
                claim,
                error=describe(error),
                backoff=pause,
                retry=True,
                park=False,
                next_due=None,
                nominal=nominal,
                schedule=digest,
            )
            runs.of_claim(session, claim, "failed", reason="domain", error=describe(error))
        return "failed"
    finally:
        if watched:
            beats().let_go(alias, claim)


def _too_late(primer: Primer, claim: Claim) -> bool:
    """Whether ``catchup = "skip"`` leaves this period out: the one after it has begun already."""
    if (
        primer.catchup != "skip"
        or primer.schedule is None
        or claim.nominal is None
        or claim.reason not in ("", "schedule")
    ):
        return False
    nominal = instant(claim.nominal)
    assert nominal is not None
    following = primer.schedule.next(nominal)
    return following is not None and following.timestamp() <= claim.started


def _skip(primer: Primer, claim: Claim, sessions: Sessions) -> str:
    now = instant(claim.started) or clock.now()
    following = primer.schedule.next(now) if primer.schedule is not None else None
    with sessions() as session:
        refreshes.finish(
            session,
            claim,
            Ending(
                primer.priority, following, following, claim.cost_ms or 0, schedule=primer.schedule_digest()
            ),
        )
    logger.info("catchup.skipped key=%s nominal=%s next=%s", claim.key, instant(claim.nominal), following)
    return "skipped"


def _begin_period(primer: Action, claim: Claim, sessions: Sessions) -> str:
    """A parallel action: each period gets a slot of its own, so that the next need not wait for this one."""
    nominal = instant(claim.nominal) or instant(claim.started)
    period = primer.build_key(period=nominal)
    due, following = primer.upcoming(claim.key, instant(claim.nominal), instant(claim.started))
    with sessions() as session, session.transaction():
        ended = refreshes.finish(
            session,
            claim,
            Ending(primer.priority, due, following, 0, schedule=claim.schedule or primer.schedule_digest()),
        )
        if ended is not None:
            refreshes.request(
                session,
                period,
                {"period": period.params["period"].isoformat()},
                lane=primer.priority,
                reason="schedule",
            )
    return "begun"


def key_of(text: str, key_base: str) -> Key:
    """Return the key of a claimed slot."""
    return registry.stored_key(text, key_base)
