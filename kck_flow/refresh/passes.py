"""One bounded pass over what is due: end overdue leases, drain marks, fold changes, claim, run.

The worker repeats it; ``worker --once`` repeats it until nothing is due; tests run it inline on their own
connection.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from django.db import Error as DatabaseErrors

from .. import clock, spread
from ..cache import recount
from ..cache.compute import Sessions
from ..changes import drain as draining
from ..changes import fold as folding
from ..changes import gaps, telling
from ..primer import LANES
from ..registry import registry
from ..store import families, frames, levels, permits, refreshes
from ..store.refreshes import Claim
from ..streams import planner
from . import plan, run

logger = logging.getLogger("kck_flow")

OVERDUE_SECONDS = 1.0
OVERDUE_SHARE = 20
# How often what has come about of dated levels is gathered, and whether flows are captured whole is looked at.
SETTLE_SECONDS = 60.0
# Deltas of one family that one fold takes: a reader or a recount waits no longer than for these.
FOLD_BATCH = 20_000
# No family is called so: a key has no colon before its first slash.
HINTS = "hints:"


class Passes:
    """What a worker does in turn, on one database.

    Args:
        alias: Which database.
        sessions: How the store is reached.
        lanes: The lanes it serves, most urgent first.
        products: Key bases it is limited to, or None for all that are declared here.
        owner: The name its leases carry.
        lease: Seconds of a lease.
        loaded_at: When the declarations of this process were loaded: those put in force later stand. None for a
            process whose own stand in any case.
    """

    def __init__(
        self,
        alias: str,
        sessions: Sessions,
        *,
        lanes: Sequence[int] = LANES,
        products: Sequence[str] | None = None,
        owner: str = "",
        lease: float = 60.0,
        loaded_at: datetime | None = None,
    ) -> None:
        self.alias, self.sessions, self.lanes, self.products = alias, sessions, tuple(lanes), products
        self.owner, self.lease, self.loaded_at = owner, lease, loaded_at
        self._claims = 0
        self._overdue_at = self._look_at = self._settle_at = 0.0
        self._mark: datetime | None = None
        self._voids: dict[int, int] = {}

    def sync(self) -> int:
        """Put the declared schedules in force; returns how many changed."""
        with self.sessions() as session:
            return plan.sync(session, self.alias, clock.now(), self.products, self.loaded_at)

    def wake_planners(self) -> None:
        """Have the time frames planned now that are served here: for a worker that does not wait until that is due."""
        with self.sessions() as session:
            for primer in planner.families_of(self.products):
                if spread.alias_of(primer) == self.alias:
                    frames.wake(session, primer.name)

    def tidy(self) -> int:
        """End overdue leases, drain the marks on their way and fold what waits; returns how much there was."""
        known = plan.known_bases(self.products)
        with self.sessions() as session:
            self._end_overdue(session)
            done = 0
            while True:
                drained = draining.drain(session)
                done += drained.marks
                if drained.marks < draining.BATCH:
                    break
            done += folding.fold_all(session, known=known)
            return done + self._fold_levels(session)

    def _fold_levels(self, session: Any) -> int:
        now = time.monotonic()
        if now < self._look_at:
            return 0
        waiting, fenced = levels.uncounted(session)
        # A worker of a project that counts nothing looks again, too: but not in every pass.
        self._look_at = now + OVERDUE_SHARE * (time.monotonic() - now)
        if fenced:
            recount.end_leaseless(session)
        folded = 0
        if now >= self._settle_at:
            self._settle_at = now + SETTLE_SECONDS
            folded += telling.settle(session)
            with suppress(DatabaseErrors):  # a table that is being migrated is looked at later
                gaps.look(session)
            if waiting:
                levels.drop_orphans(session)
        for generation, key_base in levels.foldable(session) if waiting else ():
            folded += telling.fold(session, generation, key_base, FOLD_BATCH)
        if waiting:
            self._count_anew(session)
        return folded

    def _count_anew(self, session: Any) -> None:
        """Have a family counted that holds nothing of worth any more (a TRUNCATE), where anything depends on it: its
        recount will tell. Once for each such event.
        """
        for key_base, generation, mark in levels.voids(session):
            if self._voids.get(generation, 0) < mark and telling.is_wanted(session, key_base):
                self._voids[generation] = mark
                refreshes.request(
                    session, recount.slot_key(key_base), {}, lane=refreshes.TRIGGERED, reason="worthless"
                )

    def _end_overdue(self, session: Any) -> None:
        # Nothing indexes a lease, so this reads the whole table: once a second, and never most of the time. What is due
        # is claimed without it.
        now = time.monotonic()
        if now >= self._overdue_at:
            refreshes.end_overdue(session)
            ended = time.monotonic()
            self._overdue_at = ended + max(OVERDUE_SECONDS, OVERDUE_SHARE * (ended - now))

    def claim(self, n: int) -> list[Claim]:
        """Claim up to ``n`` refreshes that are due."""
        if n <= 0:
            return []
        with self.sessions() as session:
            return [claim for claim in self._claim(session, n) if self._permitted(session, claim)]

    def dispatch(self, n: int, name: str = "", places: int | None = None) -> list[Claim]:
        """Claim up to ``n`` refreshes for somebody else, who has yet to ``enter`` them.

        Args:
            name: Whose they are to be.
            places: How many of that name may be claimed and not entered at once, over all processes; None: any number.
        """
        if n <= 0:
            return []
        with self.sessions() as session:
            if places is None:
                return self._claim(session, n, counted=False)
            # In one transaction: what has no place was never seen claimed, whoever counts.
            with session.transaction():
                return self._placed(session, n, f"{HINTS}{name}", places)

    def _placed(self, session: Any, n: int, family: str, places: int) -> list[Claim]:
        n = min(n, permits.free(session, family, places))
        claims = []
        for claim in self._claim(session, n, counted=False) if n > 0 else ():
            if permits.take(session, family, places, slot=claim.slot, token=claim.token, lease=self.lease):
                claims.append(claim)
            else:  # another process took the last place meanwhile
                refreshes.take_back(session, claim, delay=0.0)
        return claims

    def enter(self, slot: int, token: int) -> Claim | None:
        """Take over what was dispatched; None where it has been taken over, is over, or has no place to run now."""
        with self.sessions() as session:
            claim = refreshes.enter(
                session, slot, token, lease=self.lease, owner=self.owner, key_of=run.key_of
            )
            return claim if claim is not None and self._permitted(session, claim) else None

    def _claim(self, session: Any, n: int, *, counted: bool = True) -> list[Claim]:
        known = self._claimable(session)
        self._claims += 1
        # Every eighth begins with the least urgent lane: nobody starves.
        lanes = self.lanes if self._claims % 8 else tuple(reversed(self.lanes))
        claims = refreshes.claim_due(
            session,
            n=n,
            lanes=lanes,
            known=known,
            lease=self.lease,
            owner=self.owner,
            mark=self._mark,
            key_of=run.key_of,
            counted=counted,
        )
        if not claims and self._mark is not None:
            self._mark = None
            return []
        if self._claims % 64 == 0:
            self.measure(session)
        return claims

    def measure(self, session: Any) -> None:
        """Measure anew from where claims need to look; a minute's slack for what rises by being asked for."""
        low = refreshes.low_water(session, self.lanes)
        self._mark = low - refreshes.RISE if low is not None else None

    def _claimable(self, session: Any) -> list[str]:
        paused = families.paused(session)
        limited = {
            primer.name: primer.max_concurrency
            for primer in registry.unique()
            if primer.max_concurrency is not None and (self.products is None or primer.name in self.products)
        }
        full = set(permits.full(session, limited)) if limited else set()
        return [
            name
            for name in plan.known_bases(self.products)
            if name not in full and plan.served(name) not in paused
        ]

    def _permitted(self, session: Any, claim: Claim) -> bool:
        primer = registry.primers.get(claim.key.key_base)
        if primer is None or primer.max_concurrency is None:
            return True
        if permits.take(
            session, primer.name, primer.max_concurrency, slot=claim.slot, token=claim.token, lease=self.lease
        ):
            return True
        refreshes.release(session, claim, delay=0.05)
        return False

    def give_back(self, claim: Claim) -> None:
        """Give back the place that a limited primer's refresh held."""
        primer = registry.primers.get(claim.key.key_base)
        if primer is not None and primer.max_concurrency is not None:
            with self.sessions() as session:
                permits.give_back(session, claim.slot, claim.token)

    def pause(self, longest: float) -> float:
        """Return how many seconds nothing will be due, at most ``longest``."""
        with self.sessions() as session:
            due = refreshes.next_due(session, self.lanes, self._claimable(session))
        return min(longest, due) if due is not None else longest
