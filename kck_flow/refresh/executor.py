"""Refreshes carried out by a fleet that is there already: only a hint, "slot 17, token 4", goes through its broker.

The fleet is never the truth. A hint may be lost, repeated or late: the row's lease offers the work again, and of two
that follow one hint the second finds its token used up. So a refresh handed out is under a *dispatch lease* of the row,
which counts as no crash when it ends, and whoever takes the hint turns it into a lease of its own with one fenced
update.

    tick:   end overdue leases, drain, fold, claim at most capacity() -> submit each      (any process, at any time)
    entry:  (slot, token) -> the lease, if it is still that one -> compute -> publish     (in the fleet)

Who turns the wheel is ``kck worker`` or a beat of the fleet's own. The adapters are in ``kck_flow.executors``; with
``process``, ``thread`` and ``inline`` the built-in worker is broker and fleet in one, and nothing of this is used.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseErrors

from .. import __version__, clock, named
from ..cache import compute
from ..conf import EXECUTORS, LOCAL_EXECUTORS, conf, executor_problem
from ..primer import LANES
from ..store import private, refreshes, workers
from . import run as running
from .hints import DISPATCH_SECONDS, Bounded, Executor
from .passes import Passes

logger = logging.getLogger("kck_flow")

__all__ = ["Bounded", "Dispatcher", "Executor", "entry", "hand_out", "load_tasks", "made", "tick"]

SEEN_SECONDS = 10.0
SYNC_SECONDS = 60.0
SILENT_SECONDS = 120.0


def made(given: Any = None, *, alias: str | None = None) -> Executor | None:
    """Return the executor that the setting ``EXECUTOR`` names, or ``given`` in its place; None where it is a local one.

    Args:
        given: ``celery``, ``django_tasks``, ``procrastinate``, the dotted path of a class, or a dict of ``executor``
            and options of that class.
        alias: The database whose refreshes it is to carry.

    Raises:
        ImproperlyConfigured: there is no such executor, it cannot be imported, or does not take such options.
    """
    options = {"executor": given} if isinstance(given, str) else dict(given or _configured())
    told = executor_problem(options)
    if told is not None:
        raise ImproperlyConfigured(told)
    name = options.pop("executor")
    if name in LOCAL_EXECUTORS:
        return None
    try:
        executor: Executor = named.found(EXECUTORS.get(name, name))(alias=alias, **options)
    except (TypeError, ValueError) as error:
        raise ImproperlyConfigured(f"KCK_FLOW['EXECUTOR']: {error}") from error
    return executor


def _configured() -> dict[str, Any]:
    return {"executor": conf.EXECUTOR} if isinstance(conf.EXECUTOR, str) else dict(conf.EXECUTOR)


def load_tasks() -> None:
    """Import what a fleet has to know, where the setting ``EXECUTOR`` names one that can be imported; the checks say
    what is wrong where it cannot be.
    """
    options = _configured()
    name: Any = options.get("executor")
    if executor_problem(options) is None and name not in LOCAL_EXECUTORS:
        named.found(EXECUTORS.get(name, name))


def hand_out(executor: Executor, passes: Passes) -> int:
    """Claim as many refreshes as an executor takes, and send a hint for each; returns how many were sent."""
    claims = passes.dispatch(max(executor.capacity(), 0), executor.name, getattr(executor, "in_flight", None))
    for handed, claim in enumerate(claims):
        try:
            executor.submit(claim.slot, claim.token, claim.lane)
        except Exception as error:  # whatever a broker's client raises
            logger.error("hint.not_sent key=%s executor=%s error=%r", claim.key, executor.name, error)
            # The others with it: each would wait for the same broker, as long as its client has patience.
            with passes.sessions() as session:
                for unsent in claims[handed:]:
                    refreshes.take_back(session, unsent)
            return handed
    return len(claims)


class Dispatcher:
    """Hands due refreshes to an executor, a bounded pass at a time.

    Any number of dispatchers may run, in any process: what one has claimed no other does.

    Args:
        executor: Where to.
        alias: The database whose refreshes are handed out; the store's own where not given.
        lanes, products: As of a worker: lanes served, and key bases it is limited to.
        lease: Seconds after which a hint that nobody has followed is offered again.
        several: Whether it is one of many processes that tick in turn, as those of a fleet with a beat do: they are
            listed as one.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        alias: str | None = None,
        lanes: Sequence[int] = LANES,
        products: Sequence[str] | None = None,
        lease: float = DISPATCH_SECONDS,
        several: bool = False,
    ) -> None:
        if lease <= 0:
            raise ValueError(f"lease is a number of seconds above zero, not {lease!r}.")
        self.executor, self.lease, self.several = executor, lease, several
        self.alias = alias if alias is not None else str(conf.DATABASES[0])
        self._sessions = compute.private_sessions(self.alias)
        self._passes = Passes(
            self.alias,
            self._sessions,
            lanes=lanes,
            products=products,
            owner=refreshes.DISPATCHED,
            lease=lease,
            loaded_at=clock.now(),
        )
        self._number: int | None = None
        self._synced_at = self._seen_at = -SYNC_SECONDS

    def tick(self) -> int:
        """Do one bounded pass; returns how many refreshes were handed out.

        Raises:
            django.db.Error: the database cannot be reached.
        """
        if time.monotonic() - self._synced_at >= SYNC_SECONDS:
            self._passes.sync()
            self._synced_at = time.monotonic()
            with self._sessions() as session:
                workers.forget_silent(session, SILENT_SECONDS)
        self._be_seen()
        self._passes.tidy()
        return hand_out(self.executor, self._passes)

    def close(self) -> None:
        """Say that this dispatcher is no more; what it has handed out goes on."""
        if self._number is not None:
            with self._sessions() as session:
                workers.leave(session, self._number)
            self._number = None

    def _be_seen(self) -> None:
        """As a worker: then no web process refreshes what is stale by itself."""
        if self._number is not None and time.monotonic() - self._seen_at < SEEN_SECONDS:
            return
        with self._sessions() as session:
            if self.several:
                self._number = workers.ticking(session, self.executor.name)
            if self._number is None or not workers.seen(session, self._number, 0):
                self._number = workers.register(
                    session,
                    host=os.uname().nodename,
                    pid=os.getpid(),
                    version=__version__,
                    lanes=self._passes.lanes,
                    products=self._passes.products,
                    executor=self.executor.name,
                    concurrency=max(self.executor.capacity(), 0),
                    mode="tick" if self.several else "poll",
                )
        self._seen_at = time.monotonic()


_tickers: dict[str, Dispatcher] = {}


def tick() -> int:
    """Do one bounded pass for each database, with the executor of the setting ``EXECUTOR``: what a beat calls.

    Returns:
        How many refreshes were handed out; 0 where the executor is a local one, whose worker needs no hints.

    Raises:
        ImproperlyConfigured: the setting is wrong.
        django.db.Error: a database cannot be reached.
    """
    handed = 0
    for alias in map(str, conf.DATABASES):
        if alias not in _tickers:
            executor = made(alias=alias)
            if executor is None:
                return 0
            lease = getattr(executor, "lease", DISPATCH_SECONDS)
            _tickers[alias] = Dispatcher(executor, alias=alias, lease=lease, several=True)
        handed += _tickers[alias].tick()
    return handed


def entry(slot: int, token: int, *, alias: str | None = None, worker: str = "") -> str | None:
    """Follow a hint: carry its refresh out, if it is still to be.

    Args:
        slot, token: What ``submit`` was given.
        alias: The dispatcher's database; the store's own where not given.
        worker: What ``kck runs`` calls the process.

    Returns:
        The outcome (``done, unchanged, failed, fenced, superseded, skipped, released, planned, begun``), or None: the
        hint was late, or somebody else has followed it.

    Raises:
        django.db.Error: the database cannot be reached; the refresh is offered again.
    """
    alias = alias if alias is not None else str(conf.DATABASES[0])
    sessions = compute.private_sessions(alias)
    passes = Passes(alias, sessions, owner=worker or "fleet", lease=conf.LEASE_SECONDS)
    claim = passes.enter(slot, token)
    if claim is None:
        return None
    try:
        return running.run(claim, alias, sessions, worker=worker or "fleet")
    finally:
        try:
            passes.give_back(claim)
        except (DatabaseErrors, private.Busy) as error:
            logger.warning("permit.kept key=%s error=%r; its lease will end", claim.key, error)
