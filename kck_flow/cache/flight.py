"""One computation per key: the flights of this process, and how they meet those of others.

A flight is what a miss begins: claim the product's lease, compute, publish. Callers here join it; a flight
whose claim is refused follows the holder elsewhere, through one poller a process, and claims again when
that lease is over. Whoever joined before an invalidation gets the value; nobody may join after one
(``joinable``).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db import Error as DatabaseErrors
from django.db import InterfaceError, OperationalError

from ..conf import conf
from ..errors import ComputeTimeout, ReadOnlyStore, StoreUnavailable, WaitTimeout
from ..key import Key
from ..primer import Primer
from ..store import private, products, refreshes
from ..store.products import Published, Seen, Stored
from ..store.session import Session, is_lock_timeout
from ..storing import args_of, seconds
from . import compute
from .compute import Computation, Outcome
from .failures import stored_failure
from .pool import pool

logger = logging.getLogger("kck_flow")

OWNER = f"{os.uname().nodename}"
POLL_PAUSES = (0.005, 0.01, 0.02, 0.025)


def owner() -> str:
    """Return the name of this process as the holder of a lease."""
    return f"{OWNER}:{os.getpid()}"


class Flight:
    """One computation wanted by this process.

    Attributes:
        seen: What its compute has seen of the product, once it has begun here; None before, and while
            followed elsewhere.
        claimed: Set once the lease is ours or known to be somebody else's.
        done: Set once ``outcome`` is there.
    """

    def __init__(self, primer: Primer, key: Key, alias: str, reason: str, hook: str, force: bool) -> None:
        self.primer, self.key, self.alias, self.reason, self.hook, self.force = (
            primer,
            key,
            alias,
            reason,
            hook,
            force,
        )
        self.seen: Seen | None = None
        self.claimed = threading.Event()
        self.done = threading.Event()
        self.outcome: Outcome | None = None
        self.busy = False
        # A value found stored will do for the callers of this flight unless it was computed before (POSIX seconds).
        self.not_before: float | None = None
        self.deadline = time.monotonic()
        self._begun = False
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        # What the product was when a claim was refused: anything else is the holder's doing.
        self.met: refreshes.Standing | None = None

    def begin(self) -> bool:
        """Whether the caller is the one to carry this flight out (a waiting compute may take it from the
        queue).
        """
        with self._lock:
            mine, self._begun = not self._begun, True
        return mine

    def again(self) -> None:
        """Let the flight be begun once more (its claim was refused, and the holder's lease is over)."""
        with self._lock:
            self._begun = False

    def joinable(self, version: int, epoch: int) -> bool:
        """Whether a reader that saw this version and epoch, and nothing on its way, may have this flight's
        value.
        """
        seen = self.seen
        return seen is None or (seen.epoch, seen.version) == (epoch, version)

    def finish(self, outcome: Outcome) -> None:
        """Deliver to everybody who waits."""
        with self._lock:
            if self.outcome is not None:
                return
            self.outcome = outcome
            callbacks, self._callbacks = self._callbacks, []
        _forget(self)
        self.claimed.set()
        self.done.set()
        for callback in callbacks:
            callback()

    def when_done(self, callback: Callable[[], None]) -> None:
        """Call back once the flight is done (from whatever thread)."""
        with self._lock:
            if self.outcome is None:
                self._callbacks.append(callback)
                return
        callback()


_flights: dict[tuple[int, str, UUID], Flight] = {}
_flights_lock = threading.Lock()


def _forget(flight: Flight) -> None:
    with _flights_lock:
        name = (os.getpid(), flight.alias, flight.key.digest)
        if _flights.get(name) is flight:
            del _flights[name]


def board(
    primer: Primer,
    key: Key,
    alias: str,
    *,
    reason: str,
    hook: str = "prime",
    force: bool = False,
    wait: float = 0.0,
    not_before: float | None = None,
) -> tuple[Flight, bool]:
    """Return the flight of ``key`` in this process, and whether it is new (then somebody must begin it)."""
    name = (os.getpid(), alias, key.digest)
    with _flights_lock:
        flight = _flights.get(name)
        new = flight is None
        if flight is None:
            flight = _flights[name] = Flight(primer, key, alias, reason, hook, force)
        flight.deadline = max(flight.deadline, time.monotonic() + wait)
        if not_before is not None:
            flight.not_before = max(not_before, flight.not_before or not_before)
    return flight, new


def depart(flight: Flight) -> None:
    """Have a thread of the pool carry the flight out."""
    pool().submit(lambda: carry(flight))


def carry(flight: Flight) -> None:
    """Carry a flight out in this thread, unless somebody has begun it: claim and compute, or follow who has
    the lease.
    """
    if not flight.begin():
        return
    primer, key, alias = flight.primer, flight.key, flight.alias
    try:
        claim = _claim_in_time(flight)
        if claim is None:
            _follow(flight)
            return
        flight.claimed.set()
        me: Any = threading.current_thread()

        def timed_out(error: ComputeTimeout) -> None:
            flight.finish(Outcome(key, primer.codec, error=error, kind="failed"))
            me.written_off = True
            if me.name == "kck-pool":
                pool().write_off()

        def seen(found: Seen) -> None:
            flight.seen = found

        computation = Computation(
            primer,
            key,
            claim,
            alias,
            compute.private_sessions(alias),
            own_thread=True,
            look_again=None
            if flight.force
            else lambda found: compute.servable(primer, found, flight.not_before),
            hook=flight.hook,
            tell_seen=seen,
            timed_out=timed_out,
        )
        flight.finish(computation.carry_out())
    except (private.Busy, DatabaseErrors) as error:
        flight.busy = isinstance(error, private.Busy) or is_lock_timeout(error)
        if isinstance(error, ReadOnlyStore):
            unavailable: StoreUnavailable = ReadOnlyStore(f"{str(key)!r} cannot be computed here. {error}")
        else:
            unavailable = StoreUnavailable(
                f"The store did not answer while {str(key)!r} was to be computed: {error}".rstrip()
            )
        unavailable.__cause__ = error
        flight.finish(Outcome(key, primer.codec, error=unavailable, kind="failed"))
    except BaseException as error:
        flight.finish(Outcome(key, primer.codec, error=error, kind="failed"))
        raise


def _claim_in_time(flight: Flight) -> refreshes.Claim | None:
    """Claim, again and again while somebody waits: a crowd at the cache's own connections is no answer.

    Nor is a connection that has died while it was idle: once more, on a new one.
    """
    renewed = False
    while True:
        try:
            return _claim(flight)
        except (private.Busy, DatabaseErrors) as error:
            if isinstance(error, private.Busy) or is_lock_timeout(error):
                if time.monotonic() >= flight.deadline:
                    raise
            elif renewed or not isinstance(error, (OperationalError, InterfaceError)):
                raise
            else:
                renewed = True
                private.close_all(flight.alias)


def _claim(flight: Flight) -> refreshes.Claim | None:
    args = args_of(flight.primer, flight.key)
    limit = seconds(flight.primer.compute_limit)
    with private.session(flight.alias, timeout=conf.CLAIM_TIMEOUT) as session:
        while True:
            claim = refreshes.claim(
                session,
                flight.key,
                args,
                lease=conf.LEASE_SECONDS,
                owner=owner(),
                limit=limit,
                reason=flight.reason,
                force=flight.force,
            )
            if claim is not None:
                return claim
            flight.met = refreshes.standing(session, [flight.key.digest])[str(flight.key.digest)]
            if flight.met.leased or (flight.met.held_back and not flight.force):
                return None
            # Whoever had the lease gave it back between the two statements.


def _follow(flight: Flight) -> None:
    """Somebody else computes, or it failed a moment ago: the latter is the outcome, for the former we poll."""
    met = flight.met
    assert met is not None
    flight.claimed.set()
    if not met.leased:
        flight.finish(failed(flight.key, flight.primer, met))
        return
    poller().watch(flight)


def failed(key: Key, primer: Primer, met: refreshes.Standing) -> Outcome:
    """Return the outcome of a product that failed a moment ago, as its slot tells it."""
    retry_in = met.retry_at - met.now if met.retry_at is not None else None
    error = stored_failure(key, met.last_error, retry_in, met.parked_why)
    return Outcome(key, primer.codec, error=error, kind="failed", now=met.now)


def wait_for(flight: Flight, seconds: float, asked: float) -> Outcome:
    """Wait for a flight's outcome, for what is left of the wait asked for.

    Raises:
        WaitTimeout: it has not come by then; the flight goes on.
    """
    if flight.done.wait(max(seconds, 0)):
        assert flight.outcome is not None
        return flight.outcome
    raise timeout(flight.key, asked)


def timeout(key: Key, asked: float) -> WaitTimeout:
    """Return the error of a wait that is over; ``asked`` is how many seconds it was to take at most."""
    return WaitTimeout(
        f"Waited {asked:g} s for {str(key)!r} to be computed; the compute goes on. Raise the primer's wait, "
        "KCK_FLOW['WAIT'], or the argument wait."
    )


class Poller:
    """One thread a process asks for all products that others compute: one statement, 5, 10, 20, then every 25
    ms.
    """

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._watched: dict[str, list[Flight]] = {}
        self._thread: threading.Thread | None = None

    def watch(self, flight: Flight) -> None:
        """Finish ``flight`` when the holder of the lease has, or claim again when its lease is over."""
        with self._lock:
            self._watched.setdefault(flight.alias, []).append(flight)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._loop, name="kck-poll", daemon=True)
                self._thread.start()
            self._lock.notify()

    def _loop(self) -> None:
        turn = 0
        while True:
            with self._lock:
                if not any(self._watched.values()):
                    turn = 0
                    if not self._lock.wait(10.0) and not any(self._watched.values()):
                        self._thread = None
                        return
                watched = {alias: list(flights) for alias, flights in self._watched.items() if flights}
            time.sleep(POLL_PAUSES[min(turn, len(POLL_PAUSES) - 1)])
            turn += 1
            for alias, flights in watched.items():
                try:
                    self._look(alias, flights)
                except (private.Busy, DatabaseErrors) as error:
                    logger.debug("poll.failed alias=%s error=%r", alias, error)
                    time.sleep(0.1)
                    self._drop([flight for flight in flights if time.monotonic() > flight.deadline + 1])

    def _look(self, alias: str, flights: list[Flight]) -> None:
        with private.session(alias) as session:
            standings = refreshes.standing(session, [flight.key.digest for flight in flights])
            for flight in flights:
                now = standings[str(flight.key.digest)]
                met = flight.met
                assert met is not None
                if now.leased and now.token == met.token:
                    if time.monotonic() > flight.deadline + 1:
                        self._drop([flight])  # nobody waits any more
                    continue
                self._drop([flight])
                since = met.started_at or met.now
                if not flight.force:
                    if (
                        now.computed_at is not None
                        and now.computed_at >= since
                        and self._deliver(session, flight)
                    ):
                        continue
                    if not now.leased and now.last_error_at is not None and now.last_error_at >= since:
                        flight.finish(failed(flight.key, flight.primer, now))
                        continue
                # The holder died, was fenced, or its value was invalidated at once; or ours is to be a run of its
                # own: our turn.
                flight.again()
                depart(flight)

    def _deliver(self, session: Session, flight: Flight) -> bool:
        """Deliver what somebody else has stored, unless it must not be served by now."""
        stored = products.read(session, flight.key.digest, probe=True, changes=False, dirty=False, limit=0)
        if stored is None or stored.state == "unset" or stored.invalid or stored.pending == 2:
            return False
        flight.finish(_delivered(flight, stored))
        return True

    def _drop(self, flights: list[Flight]) -> None:
        with self._lock:
            for flight in flights:
                if flight in self._watched.get(flight.alias, []):
                    self._watched[flight.alias].remove(flight)
        for flight in flights:
            if time.monotonic() > flight.deadline + 1 and not flight.done.is_set():
                flight.finish(
                    Outcome(flight.key, flight.primer.codec, error=timeout(flight.key, 0), kind="failed")
                )


def _delivered(flight: Flight, stored: Stored) -> Outcome:
    outcome = Outcome(flight.key, flight.primer.codec, text=stored.value, kind="found", now=stored.now)
    stale = stored.soft_expires_at is not None and stored.soft_expires_at <= stored.now
    outcome.stored = Published(
        stored.version,
        False,
        stale,
        stored.computed_at or stored.now,
        stored.soft_expires_at,
        stored.hard_expires_at,
        False,
    )
    outcome.epoch = stored.epoch
    return outcome


_pollers: dict[int, Poller] = {}


def poller() -> Poller:
    """Return this process's poller."""
    found = _pollers.get(os.getpid())
    return found if found is not None else _pollers.setdefault(os.getpid(), Poller())


def _after_fork() -> None:
    global _flights_lock
    # The parent's lock may have been held by a thread that does not exist here.
    _flights_lock = threading.Lock()
    _flights.clear()


os.register_at_fork(after_in_child=_after_fork)
