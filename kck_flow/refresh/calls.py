"""The callables of flows are called: for each event, once its transaction has committed, at least once.

A flow's events are called for one after the other, in the order of their numbers, under the lease of a slot of our own,
``!events:<name>``; the triggers wish for it. Each has a transaction: what its callables write to the same database
commits with the note that they were called, or neither does. One that fails is left to a slot of its own, which tries
again with back-off, and is parked as any other; the events behind it are not kept waiting.
"""

from __future__ import annotations

import json
import logging
import time
import traceback as tracebacks
from collections.abc import Callable
from functools import partial
from typing import Any

from django.db import transaction

from ..cache.beats import beats
from ..cache.compute import RAISED, Sessions
from ..cache.failures import backoff_seconds, describe
from ..definition import model_of
from ..errors import DeclarationError
from ..recorded import event_model
from ..registry import registry
from ..stock import Flow
from ..store import events, refreshes, runs
from ..store.refreshes import Claim, Ending
from ..store.session import caller
from ..tracked import tracked_model

logger = logging.getLogger("kck_flow")

BATCH = 500
BATCH_SECONDS = 5.0
# So many events in a row that fail are no bad events: what they need is out of order, and the rest waits for it.
IN_A_ROW = 10
UNKNOWN_SECONDS = 60.0


def carry_out(
    claim: Claim, flow: Flow | None, alias: str, sessions: Sessions, watched: bool, worker: str
) -> str:
    """Call the callables of a flow's events, or of the one that a slot is for; returns ``done, failed, skipped``."""
    if flow is None or not flow.event_callables:
        # Those of another release are: its workers call them.
        with sessions() as session:
            refreshes.release(session, claim, delay=5.0)
        return "released"
    if watched:
        beats().hold(alias, claim)
    try:
        event = events.event_of(claim.key)
        if event is not None:
            return _one(claim, flow, alias, sessions, worker, *event)
        return _all(claim, flow, alias, sessions, worker)
    except RAISED as error:
        _fail(claim, flow, sessions, error, worker, park=False)
        return "failed"
    finally:
        if watched:
            beats().let_go(alias, claim)


def _all(claim: Claim, flow: Flow, alias: str, sessions: Sessions, worker: str) -> str:
    began = time.monotonic()
    failed_in_a_row = 0
    waiting = _waiting(flow, alias)
    if claim.crashes > 1 and waiting:
        # A process ended while it was called for, perhaps by it: by itself it takes no other along.
        _leave_alone(flow, alias, sessions, *waiting[0])
        return _end(claim, sessions, began, again=True)
    for done, (place, number) in enumerate(waiting):
        if claim.lost:
            return "fenced"
        if done and time.monotonic() - began > BATCH_SECONDS:
            return _end(claim, sessions, began, again=True)
        apart = partial(_set_apart, flow, place, number, sessions, worker)
        error = _call(flow, alias, place, number, apart=apart)
        failed_in_a_row = failed_in_a_row + 1 if error is not None else 0
        if error is not None and failed_in_a_row >= IN_A_ROW:
            _fail(claim, flow, sessions, error, worker, park=False)
            return "failed"
    return _end(claim, sessions, began, again=len(waiting) == BATCH)


def _waiting(flow: Flow, alias: str) -> list[tuple[events.Place, int]]:
    """Return the events of a flow that are due: those of a table that kept them before first, then those of today's."""
    session = caller(alias)
    found: list[tuple[events.Place, int]] = []
    for place in sorted(events.places(session), key=lambda place: place.model == _keeper(flow)):
        numbers = events.due(session, place, flow.name, BATCH - len(found))
        found += [(place, number) for number in numbers]
    return found


def _keeper(flow: Flow) -> str:
    """Return the label of the model that keeps a flow's events; empty for the table that flows share."""
    try:
        return "" if isinstance(flow.record_events, bool) else event_model(flow.record_events)._meta.label
    except DeclarationError:
        return ""  # told by the checks


def _one(
    claim: Claim, flow: Flow, alias: str, sessions: Sessions, worker: str, number: int, model: str
) -> str:
    place = next((place for place in events.places(caller(alias)) if place.model == model), None)
    if place is None:
        # Another release knows its table, if it is still there.
        with sessions() as session:
            refreshes.release(session, claim, delay=UNKNOWN_SECONDS)
        return "released"
    error = _call(flow, alias, place, number)
    if error is not None:
        _fail(claim, flow, sessions, error, worker, park=True)
        return "failed"
    with sessions() as session, session.transaction():
        events.drop_slot(session, claim.slot, claim.token)
        claim.ended = True
        runs.of_claim(session, claim, "done", worker=worker)
    return "done"


def _call(
    flow: Flow,
    alias: str,
    place: events.Place,
    number: int,
    apart: Callable[[BaseException], None] | None = None,
) -> BaseException | None:
    """Call what has not been called for an event; returns what one of them raised.

    Args:
        apart: Told of that before the event is left to a slot of its own.
    """
    with transaction.atomic(using=alias):
        session = caller(alias)
        held = events.hold(session, place, number, wait=apart is None)
        if held is None:
            return None
        called = list(held.called)
        failure = _call_each(flow, alias, held, called)
        if failure is None:
            # Of a flow that keeps none by now: a model of the project's own was there to keep them.
            events.end(session, place, number, keep=bool(flow.record_events or place.model))
            return None
        if apart is not None:
            apart(failure)
        events.set_apart(session, place, number, called)
    return failure


def _call_each(flow: Flow, alias: str, held: events.Due, called: list[str]) -> BaseException | None:
    """Call the callables that are not among ``called``, and add those that were; returns what the first to fail
    raised. Where the row cannot be had, that is it, and none is called.
    """
    failure: BaseException | None = None
    try:
        with transaction.atomic(using=alias):
            row = _row(flow, alias, held.subject)
    except RAISED as error:
        return error
    for place, function in enumerate(flow.event_callables):
        name = f"{place} {getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"
        if name in called:
            continue
        try:
            with transaction.atomic(using=alias):
                function(row, held.source, held.sink)
        except RAISED as error:
            failure = failure or error
        else:
            called.append(name)
    return failure


def _row(flow: Flow, alias: str, subject: str | None) -> Any:
    """Return the row that an event tells of, as it is now; None where it is gone."""
    if subject is None:
        return None
    model = tracked_model(flow.tracker.model) if flow.tracker else model_of(registry.ends(flow)[2][0])
    composite = getattr(model._meta, "pk_fields", None) and len(model._meta.pk_fields) > 1
    pk: Any = tuple(json.loads(subject)) if composite else model._meta.pk.to_python(subject)
    return model._base_manager.using(alias).filter(pk=pk).first()


def _set_apart(
    flow: Flow, place: events.Place, number: int, sessions: Sessions, worker: str, error: BaseException
) -> None:
    """Put an event into a slot of its own, which has failed once. Committed before the event is out of the flow's: one
    that is in both is called for by whoever comes first.
    """
    key = events.event_slot(flow.name, place, number)
    with sessions() as session:
        claim = refreshes.claim(
            session, key, {}, lease=30.0, owner="", limit=None, reason="events", lane=refreshes.TRIGGERED, force=True
        )  # fmt: skip
    if claim is not None:
        _fail(claim, flow, sessions, error, worker, park=True)


def _leave_alone(flow: Flow, alias: str, sessions: Sessions, place: events.Place, number: int) -> None:
    key = events.event_slot(flow.name, place, number)
    with sessions() as session:
        refreshes.request(session, key, {}, lane=refreshes.TRIGGERED, reason="events")
    with transaction.atomic(using=alias):
        held = events.hold(caller(alias), place, number)
        if held is not None:
            events.set_apart(caller(alias), place, number, held.called)


def _end(claim: Claim, sessions: Sessions, began: float, *, again: bool) -> str:
    with sessions() as session:
        cost = (time.monotonic() - began) * 1000
        refreshes.finish(session, claim, Ending(refreshes.TRIGGERED, None, None, cost, again=again))
    return "done"


def _fail(
    claim: Claim, flow: Flow, sessions: Sessions, error: BaseException, worker: str, *, park: bool
) -> None:
    attempts = claim.attempts + 1
    park = park and (attempts >= flow.park_after or attempts % (flow.retries + 1) == 0)
    claim.ended = True
    shown = "".join(tracebacks.format_exception(error))
    with sessions() as session, session.transaction():
        refreshes.fail(
            session,
            claim,
            error=f"{describe(error)}\n{shown[-2000:]}",
            backoff=backoff_seconds(flow, attempts),
            retry=not park,
            park=park,
            next_due=None,
            nominal=None,
        )
        runs.of_claim(session, claim, "failed", error=describe(error), traceback=shown, worker=worker)
    logger.warning("events.failed key=%s attempt=%d error=%s", claim.key, attempts, describe(error))
    if park:
        logger.error(
            "refresh.parked key=%s attempts=%d why=failed: kck retry '%s'", claim.key, attempts, claim.key
        )
