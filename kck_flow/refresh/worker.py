"""The loop of one worker: wake -> tidy -> claim -> run.

What it has claimed is in its hand (``hand.py``); who keeps it alive, and tells it to stop, stands in ``parent.py``
and ``told.py``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import select
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import Error as DatabaseErrors
from django.db import connections

from .. import __version__, clock
from ..cache import compute, tallies
from ..cache.beats import beats
from ..conf import LOCAL_EXECUTORS, conf
from ..primer import LANES
from ..registry import registry
from ..store import private, refreshes, workers
from . import executor
from .hand import Flag, Hand
from .hints import DISPATCH_SECONDS
from .listen import Ears, jittered
from .outward import Outward
from .passes import Passes

logger = logging.getLogger("kck_flow")

LOADED_AT = clock.now()  # of this release of the code: a child is forked with it
SEEN_SECONDS = 5.0
SYNC_SECONDS = 60.0
REAP_SECONDS = 1.0


@dataclass(frozen=True)
class Options:
    """How a worker works; the options of ``kck worker``.

    Attributes:
        lanes: The lanes it serves, most urgent first; None for all.
        products: Key bases it is limited to; None for all.
        concurrency: How many refreshes at once.
        executor: ``process`` (a child each), ``thread`` (threads of one child) or ``inline`` (this thread, one at
            a time; nothing is replaced there); or what brings hints to a fleet, as in the setting ``EXECUTOR``.
        claim: How many refreshes are claimed at a time, at most.
        lease: Seconds of a lease where a dead worker is noticed at once; elsewhere ``LEASE_SECONDS``, if
            shorter.
        poll: Seconds between two looks when nobody woke it.
        grace: Seconds that running refreshes may take to end when it is told to stop.
        max_refreshes, max_rss, max_age: After so many refreshes, bytes of memory or seconds a child is
            replaced.
        alive_file: Touched each time the loop turns.
        once: Do what is due, then end. Time frames are planned first, whenever that would be due.
        reload: Begin anew when a Python file of the project changes (development).
    """

    lanes: Sequence[int] | None = None
    products: Sequence[str] | None = None
    concurrency: int = 1
    executor: str | dict[str, Any] = "process"
    claim: int = 10
    lease: float | None = None
    poll: float | None = None
    grace: float = 25.0
    max_refreshes: int | None = None
    max_rss: int | None = None
    max_age: float | None = None
    alive_file: str | None = None
    once: bool = False
    reload: bool = False
    quiet: bool = False
    stdout: Any = field(default=None, compare=False)

    @property
    def is_local(self) -> bool:
        """Whether the worker carries refreshes out itself."""
        return self.executor in LOCAL_EXECUTORS


class Worker:
    """The loop of one process.

    Args:
        options: How it works; with ``thread`` it runs ``concurrency`` refreshes beside each other.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.stopping = Flag()
        self.hurry = Flag()
        self.told = False  # to end for good, and not only to make room for another process
        self.begun_at = time.monotonic()
        self._aliases = list(conf.DATABASES)
        self._ears: dict[str, Ears] = {}
        self._passes: dict[str, Passes] = {}
        self.numbers: dict[str, int] = {}
        self._last: dict[str, float] = {}
        self._in_vain = 0
        self._struck_off = threading.Event()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        os.set_blocking(self._wake_read, False)
        self.hand: Hand | Outward
        if options.is_local:
            self.hand = Hand(
                batch=options.claim,
                threads=options.concurrency
                if options.executor == "thread" and options.concurrency > 1
                else 0,
                passes=self._passes,
                wake=self._wake,
                stopping=self.stopping,
            )
        else:
            self.hand = Outward(self._adapter, self._passes)

    def _adapter(self, alias: str) -> executor.Executor:
        made = executor.made(self.options.executor, alias=alias)
        assert made is not None
        return made

    # -- life
    # ---------------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Work until told to stop (or, with ``once``, until nothing is due); ``hand`` tells what has been done."""
        self.hand.begin()
        over = threading.Event()
        threading.Thread(target=self._say_seen, args=(over,), name="kck-seen", daemon=True).start()
        down_since: float | None = None
        try:
            while not self.stopping.is_set():
                try:
                    if not self._passes:
                        self._connect()
                        if down_since is not None:
                            logger.warning("db.back after_s=%.1f", time.monotonic() - down_since)
                            down_since = None
                    if not self._turn():
                        break
                except (DatabaseErrors, OSError, private.Busy) as error:
                    if self.stopping.is_set():
                        break
                    if down_since is None:
                        down_since = time.monotonic()
                        logger.error("db.lost error=%s", str(error).strip())
                    self._disconnect()
                    if self.options.once:
                        raise
                    select.select([self._wake_read], [], [], jittered(0.5))
                    self._told_something()
                if self.spent():
                    logger.info(
                        "worker.recycled done=%d age_s=%.0f rss_mb=%.0f",
                        self.hand.done,
                        time.monotonic() - self.begun_at,
                        rss() / 1e6,
                    )
                    break
        finally:
            over.set()
            self._stop()

    def _say_seen(self, over: threading.Event) -> None:
        """Say that this worker lives, in a thread of its own: a long compute keeps the loop from turning."""
        while not over.wait(SEEN_SECONDS):
            if self.hand.running:
                self._touch()  # one that computes is well; how long it may take is for compute_limit to say
            for alias, number in list(self.numbers.items()):
                # Without a database nobody is seen; the loop finds that out, and says so.
                with (
                    contextlib.suppress(DatabaseErrors, private.Busy),
                    private.session(alias, private.BEAT) as session,
                ):
                    if (
                        not workers.seen(session, number, len(self.hand.running))
                        and self.numbers.get(alias) == number
                    ):
                        self._struck_off.set()

    def stop(self, hurry: bool = False) -> None:
        """Claim nothing more; end what runs within the grace, or at once."""
        self.stopping.set()
        if hurry:
            self.hurry.set()
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"w")

    def _connect(self) -> None:
        for alias in self._aliases:
            ears = Ears(alias)
            mode = ears.open() if not self.options.once else "poll"
            if mode == "poll" and not self.options.once:
                logger.warning(
                    "wake.listen_unavailable alias=%s: is there a transaction pooler? Polling every %g s.",
                    alias,
                    self._poll,
                )
            lease = self._lease(mode)
            fleet = self.hand.of(alias) if isinstance(self.hand, Outward) else None
            sessions = compute.private_sessions(alias)
            with sessions() as session:
                number = workers.register(
                    session,
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    version=__version__,
                    lanes=self._lanes,
                    products=self.options.products,
                    executor=fleet.name if fleet is not None else str(self.options.executor),
                    concurrency=fleet.capacity() if fleet is not None else self.options.concurrency,
                    mode=mode,
                )
            ears.say_alive(number)
            self._ears[alias], self.numbers[alias] = ears, number
            self._passes[alias] = Passes(
                alias,
                sessions,
                lanes=self._lanes,
                products=self.options.products,
                owner=f"w{number}" if self.options.is_local else refreshes.DISPATCHED,
                lease=lease,
                loaded_at=LOADED_AT,
            )
            self._passes[alias].sync()
            if self.options.once:
                self._passes[alias].wake_planners()
            self._last[f"sync:{alias}"] = time.monotonic()
        self._banner()

    def _disconnect(self) -> None:
        for ears in self._ears.values():
            ears.close()
        private.close_all()
        for alias in self._aliases:
            connections[alias].close()
        for known in (self._ears, self._passes, self.numbers):
            known.clear()

    @property
    def _lanes(self) -> Sequence[int]:
        return tuple(self.options.lanes) if self.options.lanes is not None else tuple(LANES)

    @property
    def _poll(self) -> float:
        return float(self.options.poll or conf.POLL_SECONDS)

    def _lease(self, mode: str) -> float:
        # Long leases only where a dead worker is noticed by its lock; elsewhere the lease is how it is
        # noticed.
        if self.options.lease is not None:
            return float(self.options.lease)
        if isinstance(self.hand, Outward):
            return float(getattr(self.hand.of(self._aliases[0]), "lease", DISPATCH_SECONDS))
        return float(conf.WORKER_LEASE_SECONDS if mode == "listen" else conf.LEASE_SECONDS)

    def _banner(self) -> None:
        if self.options.quiet:
            return
        import django

        database_driver: Any = getattr(connections[self._aliases[0]], "Database")  # noqa: B009
        out = self.options.stdout or sys.stderr
        for alias, passes in self._passes.items():
            database = connections[alias].settings_dict
            with passes.sessions() as session:
                server = session.run("SHOW server_version")[0][0]
                due = refreshes.next_due(session, self._lanes, list(registry.primers))
            driver = f"{database_driver.__name__} {database_driver.__version__.split()[0]}"
            mode = self._ears[alias].mode
            suspected = ": pooler suspected" if mode == "poll" and not self.options.once else ""
            next_due = (
                "nothing" if due is None else "now" if due == 0 else f"in {timedelta(seconds=round(due))}"
            )
            products = len(self.options.products or registry.unique())
            versions = (
                f"kck_flow {__version__}",
                f"Django {django.get_version()}",
                driver,
                f"PostgreSQL {server.split()[0]}",
            )
            place = f"worker w{self.numbers[alias]} pid {os.getpid()} on {database['NAME']}"
            lanes = ",".join(map(str, self._lanes))
            out.write(
                f"{' · '.join(versions)}\n"
                f"{place} · mode {mode}{suspected} · lease {passes.lease:g} s\n"
                f"products {products} · lanes {lanes} · next due {next_due}\n"
            )
            out.flush()

    # -- one turn
    # -----------------------------------------------------------------------------------------------------

    def _turn(self) -> bool:
        """Tidy, claim and run what is due; then wait. Returns False when ``once`` finds nothing more."""
        moved = 0
        for alias, passes in list(self._passes.items()):
            self._regular(alias, passes)
            moved += passes.tidy()
            if self.stopping.is_set():
                return False
            if beats().silent_for(alias) > passes.lease / 2:
                logger.error("worker.no_beat alias=%s: claiming nothing until a beat succeeds", alias)
                continue
            moved += self.hand.take(alias, passes.claim)
            self.hand.carry_out()
        self._touch()
        if moved:
            self._in_vain = 0
        if self.stopping.is_set():
            return False
        if moved and not self.hand.threaded:
            return True
        if self.options.once:
            if not moved and not self.hand.running:
                return False
            time.sleep(0.01)
            return True
        if not moved or self.hand.threaded:
            self._rest()
        return True

    def _regular(self, alias: str, passes: Passes) -> None:
        now = time.monotonic()
        if self._struck_off.is_set():
            self._struck_off.clear()
            raise OSError("this worker was struck off: taken for dead while it was held up")
        if now - self._last.get(f"sync:{alias}", 0) >= SYNC_SECONDS:
            self._last[f"sync:{alias}"] = now
            passes.sync()
            with passes.sessions() as session:
                passes.measure(session)
                workers.forget_silent(session, max(120.0, passes.lease * 2))
        self._reap(alias, passes)

    def _reap(self, alias: str, passes: Passes) -> int:
        """Once a second and by one worker at a time: end the leases of workers that have died; returns how many had."""
        ears, now = self._ears[alias], time.monotonic()
        if ears.mode != "listen" or now - self._last.get(f"reap:{alias}", 0) < REAP_SECONDS * 0.9:
            return 0
        self._last[f"reap:{alias}"] = now
        if not ears.reap_turn():
            return 0
        reaped = 0
        try:
            with passes.sessions() as session:
                for number in workers.dead(session):
                    keys = refreshes.end_owned(session, f"w{number}")
                    workers.leave(session, number)
                    reaped += 1
                    logger.warning("worker.reaped number=%s refreshes=%d", number, len(keys))
        finally:
            ears.reap_done()
        return reaped

    def _rest(self) -> None:
        longest = jittered(self._poll) if self.hand.running or len(self._passes) > 1 else self._poll
        pause = min((passes.pause(longest) for passes in self._passes.values()), default=longest)
        if pause <= 0:
            # Due, and yet not claimed: its place is taken, it waits for an upstream, or another worker has
            # it.
            self._in_vain += 1
            pause = min(0.02 * 2 ** min(self._in_vain, 10), longest)
        over_at = time.monotonic() + pause
        # The dead are looked for all the while, however long the pause.
        while not self._heard(min(max(over_at - time.monotonic(), 0), jittered(REAP_SECONDS))):
            if time.monotonic() >= over_at or sum(self._reap(*one) for one in self._passes.items()) > 0:
                return

    def _heard(self, seconds: float) -> bool:
        """Wait, at most so long; returns whether something is on its way, or this process was told something."""
        first, *others = self._ears.values()
        heard = first.wait(seconds if not others else min(seconds, 0.1), self._wake_read)
        for ears in others:
            heard = ears.wait(0) or heard
        return self._told_something() or heard

    def _told_something(self) -> bool:
        try:
            return bool(os.read(self._wake_read, 100))
        except BlockingIOError:
            return False

    def _touch(self) -> None:
        if self.options.alive_file:
            # Where it cannot be touched, it grows old, and whoever looks at its age does the rest.
            with contextlib.suppress(OSError):
                Path(self.options.alive_file).touch()

    def spent(self) -> bool:
        """Whether it has done its share, and another is to take its place."""
        options = self.options
        return (
            (options.max_refreshes is not None and self.hand.done + self.hand.failed >= options.max_refreshes)
            or (options.max_age is not None and time.monotonic() - self.begun_at >= options.max_age)
            or (options.max_rss is not None and rss() >= options.max_rss)
        )

    # -- the end
    # ------------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        self.hand.release_waiting()
        deadline = time.monotonic() + self.options.grace
        while self.hand.running and not self.hurry.is_set() and time.monotonic() < deadline:
            time.sleep(0.02)
        left = self.hand.held()
        for alias, claim in left:
            logger.info("refresh.released key=%s", claim.key)
            self.hand.release(alias, claim)
        if not left:
            self.hand.end()
        if conf.COUNT_READS:
            tallies.tell()
        with contextlib.suppress(DatabaseErrors, private.Busy):
            for alias, number in self.numbers.items():
                with private.session(alias, timeout=1.0) as session:
                    workers.leave(session, number)
        self._disconnect()


def rss() -> int:
    """Return this process's resident memory in bytes."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux: the peak is the nearest
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
