"""One daemon thread a process beats all the leases that it holds.

It runs on a connection of its own, so that a crowd of readers cannot keep a lease from its beat. It also ends
what runs past its limit: the lease is given up, the waiting get their ``ComputeTimeout``, the late result
will be refused.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..conf import conf
from ..store import permits, private, refreshes
from ..store.refreshes import Claim

logger = logging.getLogger("kck_flow")


@dataclass
class Held:
    """A lease of this process. ``deadline`` is on the monotonic clock; ``overdue`` is called once after it."""

    alias: str
    claim: Claim
    deadline: float | None
    overdue: Callable[[], None] | None
    permit: bool = False
    beat_at: float = 0.0


class Beats:
    """The leases held here, and the thread that extends them."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, int, int], Held] = {}
        self._lock = threading.Condition()
        self._thread: threading.Thread | None = None
        self._last_ok: dict[str, float] = {}

    def hold(
        self,
        alias: str,
        claim: Claim,
        *,
        limit: float | None = None,
        overdue: Callable[[], None] | None = None,
        permit: bool = False,
    ) -> None:
        """Beat a lease until ``let_go``."""
        now = time.monotonic()
        with self._lock:
            name = alias, claim.slot, claim.token
            before = self._held.get(name)
            # A worker holds what it has claimed; the computation holds it again, with its limit.
            permit = permit or (before is not None and before.permit)
            beat_at = before.beat_at if before is not None else now + claim.lease / 4
            deadline = now + limit if limit is not None else None
            self._held[name] = Held(alias, claim, deadline, overdue, permit, beat_at)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._loop, name="kck-beat", daemon=True)
                self._thread.start()
            self._lock.notify()

    def let_go(self, alias: str, claim: Claim) -> None:
        """Beat a lease no longer."""
        with self._lock:
            self._held.pop((alias, claim.slot, claim.token), None)

    def claims(self) -> list[Claim]:
        """Return the leases held here."""
        with self._lock:
            return [held.claim for held in self._held.values()]

    def silent_for(self, alias: str) -> float:
        """Return how many seconds ago the last beat of an alias succeeded (0 when it never had to)."""
        last = self._last_ok.get(alias)
        return time.monotonic() - last if last is not None and self._held else 0.0

    def _loop(self) -> None:
        while True:
            with self._lock:
                if not self._held:
                    # Stay for a while: the next compute is usually near.
                    if not self._lock.wait(10.0) and not self._held:
                        self._thread = None
                        return
                    continue
                deadlines = [held.deadline for held in self._held.values() if held.deadline is not None]
                next_at = min([held.beat_at for held in self._held.values()] + deadlines)
                now = time.monotonic()
                if next_at > now:
                    # What is held anew, or let go, may be due sooner, or later: look again.
                    self._lock.wait(next_at - now)
                    continue
                held_now = list(self._held.values())
            self._end_overdue(held_now)
            # A lease is beaten first when a quarter of it is over: most computations have ended by then.
            for alias in {held.alias for held in held_now if held.beat_at <= now}:
                beaten = [held for held in held_now if held.alias == alias]
                self._beat(alias, beaten)
                for held in beaten:
                    held.beat_at = time.monotonic() + max(held.claim.lease / 4, 0.1)

    def _end_overdue(self, held_now: list[Held]) -> None:
        for held in held_now:
            if held.deadline is not None and held.deadline <= time.monotonic():
                held.deadline = None
                if held.overdue is not None:
                    try:
                        held.overdue()
                    except Exception:
                        logger.exception("beat.overdue_failed key=%s", held.claim.key)

    def _beat(self, alias: str, held_now: list[Held]) -> None:
        claims = [held.claim for held in held_now]
        try:
            with private.session(alias, private.BEAT) as session:
                ours = refreshes.beat(session, claims)
                limited = [held.claim for held in held_now if held.permit]
                if limited:
                    permits.beat(
                        session,
                        [c.slot for c in limited],
                        [c.token for c in limited],
                        [c.lease for c in limited],
                    )
            self._last_ok[alias] = time.monotonic()
        except Exception as error:
            logger.warning("beat.failed alias=%s error=%r", alias, error)
            return
        for claim in claims:
            if (claim.slot, claim.token) not in ours and not claim.lost and not claim.ended:
                with self._lock:
                    still = (alias, claim.slot, claim.token) in self._held
                if still:
                    claim.lost = True
                    logger.warning("lease.lost key=%s slot=%s token=%s", claim.key, claim.slot, claim.token)


_beats: dict[int, Beats] = {}


def beats() -> Beats:
    """Return this process's beats (a forked child begins with none)."""
    found = _beats.get(os.getpid())
    return found if found is not None else _beats.setdefault(os.getpid(), Beats())


def lease_seconds() -> float:
    """Return how long a compute of this process is held without a beat."""
    return float(conf.LEASE_SECONDS)
