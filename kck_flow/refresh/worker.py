"""The worker: a parent that keeps children alive, and in each the loop: wake -> tidy -> claim -> run.

The parent forks before anything is connected and computes nothing itself: a product that ends its process
ends a child, whose place is taken at once. A child is a worker of its own: its claims, its beats, its
lock.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

from django.db import Error as DatabaseErrors
from django.db import connections

from .. import __version__, clock
from ..cache import compute
from ..cache.beats import beats
from ..conf import conf
from ..errors import ComputeTimeout
from ..registry import registry
from ..store import private, refreshes, workers
from ..store.refreshes import Claim
from .listen import Ears, jittered
from .passes import ALL_LANES, Passes
from .run import run

logger = logging.getLogger("kck_flow")

LOADED_AT = clock.now()  # of this release of the code: a child is forked with it
SEEN_SECONDS = 5.0
SYNC_SECONDS = 60.0
REAP_SECONDS = 1.0
# A child's exit codes: it ended on purpose, begin another.
RECYCLED, RECYCLED_SOME_FAILED = 82, 83
STILLBORN_SECONDS = 2.0
KILL_SECONDS = 5.0
TOLD = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
BATCH_SECONDS = 0.25
BRIEF_SECONDS = 0.05


@dataclass(frozen=True)
class Options:
    """How a worker works; the options of ``kck worker``.

    Attributes:
        lanes: The lanes it serves, most urgent first; None for all.
        products: Key bases it is limited to; None for all.
        concurrency: How many refreshes at once.
        executor: ``process`` (a child each), ``thread`` (threads of one child) or ``inline`` (this thread, one at
            a time; nothing is replaced there).
        claim: How many refreshes are claimed at a time, at most.
        lease: Seconds of a lease where a dead worker is noticed at once; elsewhere ``LEASE_SECONDS``, if
            shorter.
        poll: Seconds between two looks when nobody woke it.
        grace: Seconds that running refreshes may take to end when it is told to stop.
        max_refreshes, max_rss, max_age: After so many refreshes, bytes of memory or seconds a child is
            replaced.
        alive_file: Touched each time the loop turns.
        once: Do what is due, then end.
        reload: Begin anew when a Python file of the project changes (development).
    """

    lanes: Sequence[int] | None = None
    products: Sequence[str] | None = None
    concurrency: int = 1
    executor: str = "process"
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


@dataclass
class Tally:
    """What a worker has done."""

    done: int = 0
    failed: int = 0

    def count(self, outcome: str) -> None:
        if outcome == "failed":
            self.failed += 1
        elif outcome not in ("planned", "skipped", "begun", "released"):
            self.done += 1


class Worker:
    """The loop of one process.

    Args:
        options: How it works; with ``thread`` it runs ``concurrency`` refreshes beside each other.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.tally = Tally()
        self.stopping = threading.Event()
        self.hurry = threading.Event()
        self.told = False  # to end for good, and not only to make room for another process
        self.begun_at = time.monotonic()
        self._aliases = list(conf.DATABASES)
        self._ears: dict[str, Ears] = {}
        self._passes: dict[str, Passes] = {}
        self._numbers: dict[str, int] = {}
        self._running: dict[tuple[str, int], tuple[Claim, str]] = {}
        self._waiting: list[tuple[str, Claim]] = []
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}
        self._in_vain = 0
        self._work: queue.SimpleQueue[tuple[str, Claim] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        # Threads whose compute is past its limit: counted no longer, they end when it does.
        self._written_off: set[threading.Thread] = set()
        self._struck_off = threading.Event()
        self._suspicious = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        os.set_blocking(self._wake_read, False)

    # -- life
    # ---------------------------------------------------------------------------------------------------------

    def serve(self) -> Tally:
        """Work until told to stop (or, with ``once``, until nothing is due)."""
        threaded = self.options.executor == "thread" and self.options.concurrency > 1
        for _ in range(self.options.concurrency if threaded else 0):
            self._begin_thread()
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
                    if not self._turn(threaded):
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
                    self.stopping.wait(jittered(0.5))
                if self._spent():
                    logger.info(
                        "worker.recycled done=%d age_s=%.0f rss_mb=%.0f",
                        self.tally.done,
                        time.monotonic() - self.begun_at,
                        rss() / 1e6,
                    )
                    break
        finally:
            over.set()
            self._stop()
        return self.tally

    def _say_seen(self, over: threading.Event) -> None:
        """Say that this worker lives, in a thread of its own: a long compute keeps the loop from turning."""
        while not over.wait(SEEN_SECONDS):
            if self._running:
                self._touch()  # one that computes is well; how long it may take is for compute_limit to say
            for alias, number in list(self._numbers.items()):
                # Without a database nobody is seen; the loop finds that out, and says so.
                with (
                    contextlib.suppress(DatabaseErrors, private.Busy),
                    private.session(alias, private.BEAT) as session,
                ):
                    if (
                        not workers.seen(session, number, len(self._running))
                        and self._numbers.get(alias) == number
                    ):
                        self._struck_off.set()

    def stop(self, hurry: bool = False) -> None:
        """Claim nothing more; end what runs within the grace, or at once."""
        self.stopping.set()
        if hurry:
            self.hurry.set()
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"s")

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
            sessions = compute.private_sessions(alias)
            with sessions() as session:
                number = workers.register(
                    session,
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    version=__version__,
                    lanes=self._lanes,
                    products=self.options.products,
                    executor=self.options.executor,
                    concurrency=self.options.concurrency,
                    mode=mode,
                )
            ears.say_alive(number)
            self._ears[alias], self._numbers[alias] = ears, number
            self._passes[alias] = Passes(
                alias,
                sessions,
                lanes=self._lanes,
                products=self.options.products,
                owner=f"w{number}",
                lease=lease,
                loaded_at=LOADED_AT,
            )
            self._passes[alias].sync()
            self._last[f"sync:{alias}"] = time.monotonic()
        self._banner()

    def _disconnect(self) -> None:
        for ears in self._ears.values():
            ears.close()
        private.close_all()
        for alias in self._aliases:
            connections[alias].close()
        self._ears, self._passes, self._numbers = {}, {}, {}

    @property
    def _lanes(self) -> Sequence[int]:
        return tuple(self.options.lanes) if self.options.lanes is not None else ALL_LANES

    @property
    def _poll(self) -> float:
        return float(self.options.poll or conf.POLL_SECONDS)

    def _lease(self, mode: str) -> float:
        # Long leases only where a dead worker is noticed by its lock; elsewhere the lease is how it is
        # noticed.
        if self.options.lease is not None:
            return float(self.options.lease)
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
            next_due = "nothing" if due is None else "now" if due == 0 else f"in {due:.0f} s"
            products = len(self.options.products or registry.unique())
            versions = (
                f"kck_flow {__version__}",
                f"Django {django.get_version()}",
                driver,
                f"PostgreSQL {server.split()[0]}",
            )
            place = f"worker w{self._numbers[alias]} pid {os.getpid()} on {database['NAME']}"
            lanes = ",".join(map(str, self._lanes))
            out.write(
                f"{' · '.join(versions)}\n"
                f"{place} · mode {mode}{suspected} · lease {passes.lease:g} s\n"
                f"products {products} · lanes {lanes} · next due {next_due}\n"
            )
            out.flush()

    # -- one turn
    # -----------------------------------------------------------------------------------------------------

    def _turn(self, threaded: bool) -> bool:
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
            claims = passes.claim(self._room(threaded))
            moved += len(claims)
            for claim in claims:
                beats().hold(alias, claim, permit=_limited(claim))
            with self._lock:
                self._waiting.extend((alias, claim) for claim in claims)
            if threaded:
                self._hand_out()
            else:
                self._run_all()
        self._touch()
        if moved:
            self._in_vain = 0
        if self.stopping.is_set():
            return False
        if moved and not threaded:
            return True
        if self.options.once:
            if not moved and not self._running:
                return False
            time.sleep(0.01)
            return True
        if not moved or threaded:
            self._rest()
        return True

    def _room(self, threaded: bool) -> int:
        if threaded and self._suspicious:
            return 0 if self._running else 1
        if threaded:
            return max(self.options.concurrency - len(self._running) - len(self._waiting), 0)
        # Many short refreshes are claimed together; a long one alone, or it would keep the others from idle
        # workers.
        return self.options.claim if self._brief else 1

    _brief = True

    def _run_all(self) -> None:
        # A batch that takes longer than it should gives the rest back: other workers may be idle.
        late = threading.Timer(BATCH_SECONDS, self._release_waiting) if len(self._waiting) > 1 else None
        if late is not None:
            late.daemon = True
            late.start()
        try:
            while not self.stopping.is_set():
                with self._lock:
                    if not self._waiting:
                        break
                    alias, claim = self._waiting.pop(0)
                if claim.crashes > 1:
                    # It may end this process again: alone, it takes no other's good name along.
                    self._release_waiting()
                begun = time.monotonic()
                self._run(alias, claim)
                self._brief = time.monotonic() - begun < BRIEF_SECONDS
        finally:
            if late is not None:
                late.cancel()

    def _hand_out(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
            # What may have ended a process runs alone, or those beside it would be suspected with it next time.
            suspects = [one for one in waiting if one[1].crashes > 1]
            if suspects or not self._running:
                self._suspicious = bool(suspects)
            alone = suspects[:1] if suspects and not self._running and len(waiting) == len(suspects) else []
            given_back = [one for one in suspects if one not in alone]
            handed = [one for one in waiting if one not in suspects] + alone
            for alias, claim in handed:
                self._running[alias, claim.slot] = (claim, alias)
        for alias, claim in given_back:
            self._release(alias, claim)
        for one in handed:
            self._work.put(one)

    def _run(self, alias: str, claim: Claim) -> None:
        passes = self._passes.get(alias)
        me = threading.current_thread()

        def timed_out(error: ComputeTimeout) -> None:
            with self._lock:
                if me not in self._threads:
                    return  # the main thread is interrupted instead
                self._threads.remove(me)
                self._written_off.add(me)
                self._running.pop((alias, claim.slot), None)
            self._begin_thread()

        with self._lock:
            self._running[alias, claim.slot] = (claim, alias)
        try:
            if claim.lost:
                return
            with self._limited(claim):
                sessions = compute.private_sessions(alias)
                outcome = run(claim, alias, sessions, worker=self._owner(alias), timed_out=timed_out)
            self.tally.count(outcome)
        except (DatabaseErrors, OSError, private.Busy) as error:
            logger.error("refresh.unfinished key=%s error=%r; its lease will end", claim.key, error)
        finally:
            with self._lock:
                if self._running.get((alias, claim.slot), (None,))[0] is claim:
                    del self._running[alias, claim.slot]
            beats().let_go(alias, claim)
            if passes is not None:
                with contextlib.suppress(DatabaseErrors, private.Busy):
                    passes.give_back(claim)
            self._clean_up(alias)

    def _clean_up(self, alias: str) -> None:
        connection = connections[alias]
        if connection.connection is not None and (
            connection.in_atomic_block or not connection.get_autocommit() or connection.errors_occurred
        ):
            connection.close()  # a compute left it in a state that the next must not inherit
        else:
            connection.close_if_unusable_or_obsolete()

    @contextlib.contextmanager
    def _limited(self, claim: Claim) -> Any:
        """In the main thread a compute past its limit is interrupted by an alarm; elsewhere it is written
        off.
        """
        primer = registry.primers.get(claim.key.key_base)
        limit = (
            primer.compute_limit.total_seconds()
            if primer is not None and primer.compute_limit is not None
            else None
        )
        if limit is None or threading.current_thread() is not threading.main_thread():
            yield
            return

        def overdue(number: int, frame: FrameType | None) -> None:
            raise ComputeTimeout(
                f"{str(claim.key)!r} ran longer than its compute_limit of {limit:g} s and was interrupted.",
                key=claim.key,
                cause="ComputeTimeout",
            )

        before = signal.signal(signal.SIGALRM, overdue)
        # A little after the beats have given the lease up: they tell the waiting, the alarm ends the work.
        signal.setitimer(signal.ITIMER_REAL, limit + 0.05)
        try:
            yield
        except ComputeTimeout:
            pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def _owner(self, alias: str) -> str:
        return f"w{self._numbers.get(alias, 0)}"

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
        longest = jittered(self._poll) if self._running or len(self._passes) > 1 else self._poll
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
        with contextlib.suppress(BlockingIOError):
            heard = bool(os.read(self._wake_read, 100)) or heard
        return heard

    def _touch(self) -> None:
        if self.options.alive_file:
            # Where it cannot be touched, it grows old, and whoever looks at its age does the rest.
            with contextlib.suppress(OSError):
                Path(self.options.alive_file).touch()

    def _spent(self) -> bool:
        options = self.options
        return (
            (
                options.max_refreshes is not None
                and self.tally.done + self.tally.failed >= options.max_refreshes
            )
            or (options.max_age is not None and time.monotonic() - self.begun_at >= options.max_age)
            or (options.max_rss is not None and rss() >= options.max_rss)
        )

    # -- threads
    # ------------------------------------------------------------------------------------------------------

    def _begin_thread(self) -> None:
        thread = threading.Thread(target=self._thread, name="kck-run", daemon=True)
        with self._lock:
            self._threads.append(thread)
        thread.start()

    def _thread(self) -> None:
        me = threading.current_thread()
        while me not in self._written_off and (work := self._work.get()) is not None:
            try:
                self._run(*work)
            except Exception:
                logger.exception("refresh.broken key=%s; its lease will end", work[1].key)
            with contextlib.suppress(OSError):
                os.write(self._wake_write, b"d")
        connections.close_all()

    # -- the end
    # ------------------------------------------------------------------------------------------------------

    def _release_waiting(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for alias, claim in waiting:
            self._release(alias, claim)

    def _release(self, alias: str, claim: Claim) -> None:
        beats().let_go(alias, claim)
        try:
            with private.session(alias, timeout=1.0) as session:
                refreshes.release(session, claim)
            passes = self._passes.get(alias)
            if passes is not None:
                passes.give_back(claim)
        except (DatabaseErrors, private.Busy) as error:
            logger.warning("refresh.not_released key=%s error=%r", claim.key, error)

    def _stop(self) -> None:
        self._release_waiting()
        deadline = time.monotonic() + self.options.grace
        while self._running and not self.hurry.is_set() and time.monotonic() < deadline:
            time.sleep(0.02)
        with self._lock:
            left = list(self._running.values())
        for claim, alias in left:
            logger.info("refresh.released key=%s", claim.key)
            self._release(alias, claim)
        if not left:
            for _ in self._threads:
                self._work.put(None)
        with contextlib.suppress(DatabaseErrors, private.Busy):
            for alias, number in self._numbers.items():
                with private.session(alias, timeout=1.0) as session:
                    workers.leave(session, number)
        self._disconnect()


def _limited(claim: Claim) -> bool:
    """Whether a refresh holds one of its family's places, to be beaten like its lease."""
    primer = registry.primers.get(claim.key.key_base)
    return primer is not None and primer.max_concurrency is not None


def rss() -> int:
    """Return this process's resident memory in bytes."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux: the peak is the nearest
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# -- the process that is told to stop
# -----------------------------------------------------------------------------------


def run_worker(options: Options) -> int:
    """Be ``kck worker``; returns the exit code: 0 done, 3 when ``once`` saw refreshes fail, 130 when hurried."""
    replaced = options.max_refreshes or options.max_rss or options.max_age
    several = options.executor == "process" and options.concurrency > 1
    if options.executor == "inline" or (options.once and not replaced and not several):
        worker = Worker(options)
        _on_signals(worker)
        tally = worker.serve()
        return 130 if worker.hurry.is_set() else 3 if options.once and tally.failed else 0
    return Parent(options).serve()


def _on_signals(worker: Worker, *, child: bool = False) -> None:
    """First SIGTERM or SIGINT: end within the grace. Second: at once. SIGUSR1: show what runs. SIGHUP: end for
    another to take its place; where none will, as SIGTERM.

    A child of ``Parent`` is told by it, and told SIGQUIT for "at once": a terminal or a service manager signals
    all processes of a group, and two SIGTERMs, from there and from the parent, are one wish.
    """

    def told(number: int, frame: FrameType | None) -> None:
        hurry = number == signal.SIGQUIT or (worker.told and not child)
        _tell(worker, signal.Signals(number).name, hurry=hurry)

    def show(number: int, frame: FrameType | None) -> None:
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        lines = [f"worker pid {os.getpid()}\n"]
        for claim, _alias in list(worker._running.values()):
            lines.append(f"running {claim.key} for {clock.now().timestamp() - claim.started:.1f} s\n")
        for ident, stack in sys._current_frames().items():
            stack = frame if ident == threading.main_thread().ident and frame is not None else stack
            lines += [f"thread {names.get(ident, ident)}\n", *traceback.format_stack(stack)]
        sys.stderr.write("".join(lines))  # at once: its neighbours write, too
        sys.stderr.flush()

    signal.signal(signal.SIGTERM, told)
    signal.signal(signal.SIGINT, signal.SIG_IGN if child else told)
    if child:
        signal.signal(signal.SIGQUIT, told)
        signal.signal(signal.SIGHUP, lambda number, frame: worker.stop())
    else:
        signal.signal(signal.SIGHUP, told)
    signal.signal(signal.SIGUSR1, show)


def _tell(worker: Worker, why: str, *, hurry: bool = False) -> None:
    """Have a worker end within its grace, or at once. Called from a signal's handler, or a thread."""
    again, worker.told = worker.told, True
    worker.stop(hurry=hurry)  # first of all: the next signal may come before the next line
    if hurry:
        # In a thread: what this one was doing may hold the locks that releasing needs.
        threading.Thread(target=_leave_at_once, args=(worker, 130), daemon=True).start()
    elif not again:
        threading.Thread(target=_end_of_grace, args=(worker, why), daemon=True).start()


def _end_of_grace(worker: Worker, name: str) -> None:
    """A refresh that runs in the main thread keeps it from ending the grace itself."""
    logger.info("worker.stopping signal=%s grace_s=%g", name, worker.options.grace)
    if worker.options.executor == "thread" and worker.options.concurrency > 1:
        return
    deadline = time.monotonic() + worker.options.grace
    while worker._running and time.monotonic() < deadline and not worker.hurry.is_set():
        time.sleep(0.02)
    if worker._running and not worker.hurry.is_set():
        _leave_at_once(worker, 0)


def _leave_at_once(worker: Worker, code: int) -> None:
    """Release what runs and end the process: the thread that computes cannot be stopped otherwise."""
    with worker._lock:
        left = [*worker._running.values(), *((claim, alias) for alias, claim in worker._waiting)]
    for claim, alias in left:
        logger.info("refresh.released key=%s", claim.key)
        worker._release(alias, claim)
    for alias, number in worker._numbers.items():
        with contextlib.suppress(Exception), private.session(alias, timeout=0.5) as session:
            workers.leave(session, number)
    logging.shutdown()
    sys.stderr.flush()
    os._exit(code)


class Parent:
    """Keeps ``concurrency`` children alive (one, where it is of threads); computes nothing and holds no connection.

    With ``once`` each child ends when it finds nothing more, and is replaced only where it had done its share.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.count = options.concurrency if options.executor == "process" else 1
        self.children: dict[int, float] = {}
        self._ended: list[int] = []
        self._some_failed = False
        self.stopping = False
        self.hurried = False
        self._failures = 0
        self._begin_at = 0.0
        self._kill_at = 0.0
        self._files: dict[str, float] = {}

    def serve(self) -> int:
        """Fork, wait, fork again; returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told)
        signal.signal(signal.SIGHUP, self._recycle)
        signal.signal(signal.SIGUSR1, self._pass_on)
        logger.info("worker.started pid=%d children=%d", os.getpid(), self.count)
        connections.close_all()
        private.close_all()
        while True:
            if time.monotonic() >= self._begin_at:
                while len(self.children) < self._places() and not self.stopping:
                    self._fork()
            if not self.children and (self.stopping or not self._places()):
                logger.info("worker.stopped pid=%d", os.getpid())
                return 130 if self.hurried else self._code()
            self._collect()
            if self.stopping and time.monotonic() > self._kill_at:
                self._pass_on(signal.SIGKILL, None)  # held up where no signal reaches it: its lease will end
            if self.options.reload and not self.stopping and self._edited():
                logger.info("worker.reloading")
                self._restart()

    def _places(self) -> int:
        """Return how many children there should be."""
        return self.count - (len(self._ended) if self.options.once else 0)

    def _code(self) -> int:
        if not self.options.once or not self._some_failed:
            return 0
        return 3 if {0, 3} & set(self._ended) else 1

    def _fork(self) -> None:
        # Held back until the child has its own handlers, and we know of the child: told in between, it would not stop.
        signal.pthread_sigmask(signal.SIG_BLOCK, TOLD)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = self._child()
            except BaseException:
                traceback.print_exc()
            finally:
                logging.shutdown()
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        self.children[pid] = time.monotonic()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD)

    def _child(self) -> int:
        options = self.options
        if options.executor == "process":
            # With once, who finds nothing left to claim ends: one must not hold what another could do.
            claim = 1 if options.once and self.count > 1 else options.claim
            options = replace(options, concurrency=1, claim=claim)
        worker = Worker(options)
        _on_signals(worker, child=True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD)
        parent = os.getppid()

        def orphaned() -> None:
            # A parent killed with -9 says nothing: without it nobody would stop this child.
            while os.getppid() == parent:
                time.sleep(0.5)
            _tell(worker, "orphaned")

        threading.Thread(target=orphaned, name="kck-parent", daemon=True).start()
        tally = worker.serve()
        spent = worker._spent()
        if options.once and tally.failed:
            return RECYCLED_SOME_FAILED if spent else 3
        return RECYCLED if spent else 0

    def _collect(self) -> None:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            pid, status = 0, 0
        if pid == 0:
            time.sleep(0.05)
            return
        begun = self.children.pop(pid, 0.0)
        code = os.waitstatus_to_exitcode(status)
        self._some_failed = self._some_failed or code not in (0, RECYCLED)
        if self.options.once and code not in (RECYCLED, RECYCLED_SOME_FAILED):
            self._ended.append(code)
        if self.stopping:
            return
        if code in (0, RECYCLED, RECYCLED_SOME_FAILED) or (self.options.once and code == 3):
            self._failures = 0
            return
        lived = time.monotonic() - begun
        self._failures = self._failures + 1 if lived < STILLBORN_SECONDS else 0
        pause = min(0.1 * 2 ** (self._failures - 1), 10.0) if self._failures > 1 else 0.0
        self._begin_at = time.monotonic() + pause
        logger.error("worker.child_ended pid=%d code=%d lived_s=%.1f next_in_s=%.1f", pid, code, lived, pause)

    def _told(self, number: int, frame: FrameType | None) -> None:
        self.hurried = self.stopping
        if not self.stopping:
            self._kill_at = time.monotonic() + self.options.grace + KILL_SECONDS
        self.stopping = True
        self._pass_on(signal.SIGQUIT if self.hurried else signal.SIGTERM, frame)

    def _recycle(self, number: int, frame: FrameType | None) -> None:
        self._pass_on(signal.SIGHUP, frame)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        for pid in list(self.children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _edited(self) -> bool:
        now: dict[str, float] = {}
        names = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
        # One that cannot be imported is no module, and about to be mended.
        names += [broken.where().rpartition(":")[0] for broken in registry.broken]
        for name in names:
            if name and "site-packages" not in name and name.endswith(".py"):
                with contextlib.suppress(OSError):
                    now[name] = os.stat(name).st_mtime
        before, self._files = self._files, now
        return bool(before) and any(before.get(name, at) != at for name, at in now.items())

    def _restart(self) -> None:
        # A forked child would have the old code: the whole command begins anew.
        self._pass_on(signal.SIGTERM, None)
        while self.children:
            self._collect_quietly()
        if self.stopping:
            return  # told so meanwhile
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

    def _collect_quietly(self) -> None:
        with contextlib.suppress(ChildProcessError):
            pid, _ = os.waitpid(-1, 0)
            self.children.pop(pid, None)
            return
        self.children.clear()
