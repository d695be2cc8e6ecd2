"""Refreshes carried out by a fleet that is there already: only a hint, "slot 17, token 4", goes through its broker.

The fleet is never the truth. A hint may be lost, repeated or late: the row's lease offers the work again, and of two
that follow one hint the second finds its token used up. So a refresh handed out is under a *dispatch lease* of the row,
which counts as no crash when it ends, and whoever takes the hint turns it into a lease of its own with one fenced
update.

    tick:   end overdue leases, drain, fold, claim at most capacity() -> submit each      (any process, at any time)
    entry:  (slot, token) -> the lease, if it is still that one -> compute -> publish     (in the fleet)

The built-in worker does without: it is broker and fleet in one.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from typing import Protocol

from django.db import Error as DatabaseErrors

from .. import __version__, clock
from ..cache import compute
from ..conf import conf
from ..primer import LANES
from ..store import private, refreshes, workers
from . import run as running
from .passes import Passes

logger = logging.getLogger("kck_flow")

# Three times what a hint may wait in a broker that is well; never so short that a busy one is flooded with offers.
DISPATCH_SECONDS = 30.0
SEEN_SECONDS = 10.0


class Executor(Protocol):
    """What an adapter has to be able to do: bring hints to a fleet."""

    @property
    def name(self) -> str:
        """What ``kck status`` calls it."""

    def capacity(self) -> int:
        """Return how many hints it takes now: what its fleet can have in flight, less what is."""

    def submit(self, slot: int, token: int, lane: int) -> None:
        """Send a hint on its way; somewhere in the fleet ``entry(slot, token)`` is then called.

        Args:
            slot, token: Which refresh, and under which lease; nothing else may cross the broker.
            lane: How urgent it is, 0 to 9, the lowest first; for a broker that knows priorities.

        Raises:
            Exception: the broker cannot be reached; the refresh is given back, and offered again by a later tick.
        """


class Dispatcher:
    """Hands due refreshes to an executor, a bounded pass at a time.

    Any number of dispatchers may run, in any process: what one has claimed no other does.

    Args:
        executor: Where to.
        alias: The database whose refreshes are handed out; the store's own where not given.
        lanes, products: As of a worker: lanes served, and key bases it is limited to.
        lease: Seconds after which a hint that nobody has followed is offered again.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        alias: str | None = None,
        lanes: Sequence[int] = LANES,
        products: Sequence[str] | None = None,
        lease: float = DISPATCH_SECONDS,
    ) -> None:
        if lease <= 0:
            raise ValueError(f"lease is a number of seconds above zero, not {lease!r}.")
        self.executor, self.lease = executor, lease
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
        self._synced = False
        self._number: int | None = None
        self._seen_at = 0.0

    def tick(self) -> int:
        """Do one bounded pass; returns how many refreshes were handed out.

        Raises:
            django.db.Error: the database cannot be reached.
        """
        if not self._synced:
            self._passes.sync()
            self._synced = True
        self._be_seen()
        self._passes.tidy()
        handed = 0
        for claim in self._passes.dispatch(max(self.executor.capacity(), 0)):
            try:
                self.executor.submit(claim.slot, claim.token, claim.lane)
            except Exception as error:  # whatever a broker's client raises
                logger.error(
                    "hint.not_sent key=%s executor=%s error=%r", claim.key, self.executor.name, error
                )
                with self._sessions() as session:
                    refreshes.take_back(session, claim)
            else:
                handed += 1
        return handed

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
                    mode="poll",
                )
        self._seen_at = time.monotonic()


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
