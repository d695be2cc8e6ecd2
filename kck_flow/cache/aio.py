"""The async twins: the read in one hop, the waiting in asyncio, the computing in the pool.

The read goes through the thread-sensitive executor, so that Django's connections (and a TestCase's
transaction) are the ones that sync code sees; a compute never does, or one slow product would stop every
query of the loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from .. import spread
from ..conf import conf
from ..entry import Entry
from ..errors import ones_own
from ..registry import registry
from ..store import refreshes
from ..timeframe import TimeFrame
from . import context, flight, frame, framed, many, read
from .compute import Outcome

if TYPE_CHECKING:
    from .facade import Cache


async def in_thread(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Run a function where sync code would run."""
    return await sync_to_async(function, thread_sensitive=True)(*arguments, **options)


async def get(key: str, default: Any, **options: Any) -> Any:
    """As ``read.get``."""
    return await _ask(read.get, key, default, options)


async def get_entry(key: str, default: Any, **options: Any) -> Entry:
    """As ``read.get_entry``."""
    entry: Entry = await _ask(read.get_entry, key, default, options)
    return entry


async def _ask(question: Callable[..., Any], key: str, default: Any, options: dict[str, Any]) -> Any:
    asked = wait = read.seconds(options.pop("wait", None))
    deadline: float | None = None
    while True:
        answer = await in_thread(_try, question, key, default, wait=wait, **options)
        if not isinstance(answer, read.Boarded):
            return answer
        joined, conclude = answer.joined, answer.concluded
        if asked is None:
            asked = joined.primer.wait_seconds(conf.WAIT)
        if deadline is None:
            deadline = time.monotonic() + asked
        await _until_done(joined, deadline - time.monotonic())
        wait = max(deadline - time.monotonic(), 0)
        if joined.outcome is None:
            late = Outcome(
                joined.key,
                joined.primer.codec,
                error=flight.timeout(joined.key, asked),
                kind="failed",
            )
            return conclude(late)
        if answer.answers(joined.outcome) or wait <= 0:
            return conclude(joined.outcome)


def _try(question: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Answer at once, or return the flight to wait for."""
    token = read.boarding.set(True)
    try:
        return question(*arguments, **options)
    except (read.Boarded, many.ManyBoarded) as boarded:
        return boarded
    finally:
        read.boarding.reset(token)


async def _until_done(joined: flight.Flight, seconds: float) -> None:
    """Wait for a flight, at most so long; never a thread each."""
    loop = asyncio.get_running_loop()
    landed: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not landed.done():
            landed.set_result(None)

    def from_a_thread() -> None:
        try:
            loop.call_soon_threadsafe(tell)
        except RuntimeError:
            pass  # the loop is closed, and nobody waits

    joined.when_done(from_a_thread)
    try:
        await asyncio.wait_for(landed, max(seconds, 0))
    except TimeoutError:
        return


async def get_many(keys: Iterable[str], errors: str) -> dict[str, Any]:
    """As ``many.get_many``: hits in one statement and one hop; misses fly side by side and are awaited here."""
    asked, landed = many.listed(keys), many.Landed()
    while True:
        answer = await in_thread(_try, many.try_many, asked, errors, landed)
        if not isinstance(answer, many.ManyBoarded):
            found: dict[str, Any] = answer
            return found
        for joined, answers in answer.flights:
            await _until_done(joined, landed.patience(joined))
            landed.take(joined, answers)


async def refresh(cache: Cache, key: str) -> Entry:
    """As ``Cache.refresh``: computed in the pool, awaited here."""
    found = registry.key(key)
    primer = cache.primer(found)
    alias = spread.alias_of(primer)
    # Inside a compute it is computed by that thread: the pool's could all wait for one another.
    if frame.current() is not None or await in_thread(context.context_of, alias) != context.OPEN:
        entry: Entry = await in_thread(cache.refresh, key)
        return entry
    if isinstance(primer, TimeFrame):
        trip = framed.refreshing(found, primer)
        while trip.outcome is None:
            await _until_done(trip, 60.0)
        if trip.outcome.error is not None:
            raise ones_own(trip.outcome.error)
        return trip.entry()
    while True:
        joined, new = flight.board(
            primer, found, alias, reason=refreshes.MANUAL, hook="refresh", force=True, wait=86_400
        )
        if new:
            flight.depart(joined)
        while not joined.done.is_set():
            await _until_done(joined, 60.0)
        outcome = joined.outcome
        assert outcome is not None
        if not new or outcome.kind == "found" or joined.busy:
            await asyncio.sleep(0.01)
            continue
        if outcome.error is not None:
            raise ones_own(outcome.error)
        return outcome.entry()
