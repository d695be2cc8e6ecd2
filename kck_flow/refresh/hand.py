"""What a worker has claimed: carried out here or in its threads, or given back."""

from __future__ import annotations

import contextlib
import logging
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from django.db import Error as DatabaseErrors
from django.db import connections

from ..cache import compute
from ..cache.beats import beats
from ..errors import ComputeTimeout
from ..registry import registry
from ..store import private, refreshes
from ..store.refreshes import Claim
from .passes import Passes
from .run import run

logger = logging.getLogger("kck_flow")

BATCH_SECONDS = 0.25
BRIEF_SECONDS = 0.05


class Flag:
    """Raised once, from a signal's handler: two of them, one within the other, would lock an Event for ever."""

    def __init__(self) -> None:
        self._raised = False

    def set(self) -> None:
        self._raised = True

    def is_set(self) -> bool:
        return self._raised


class Hand:
    """The refreshes that one worker holds.

    Args:
        batch: How many are carried out one after the other in the calling thread, at most.
        threads: How many are carried out beside one another, each in a thread of its own; 0: here, in turn.
        passes: The worker's, by database; empty while it has none.
        wake: Called when a thread has ended a refresh.
        stopping: Set when nothing more shall be begun.

    Attributes:
        done, failed: How many have ended well, and how many not.
        running: What is under way, by database and slot.
    """

    def __init__(
        self,
        *,
        batch: int,
        threads: int,
        passes: dict[str, Passes],
        wake: Callable[[], None],
        stopping: Flag,
    ) -> None:
        self.done = self.failed = 0
        self.running: dict[tuple[str, int], tuple[str, Claim]] = {}
        self._waiting: list[tuple[str, Claim]] = []
        self._leaving: list[tuple[str, Claim]] = []  # not to be begun any more, and not given back yet
        self._lock = threading.Lock()
        self._taking = threading.Lock()  # held from before a claim until what it brought is known here
        self._batch, self._count, self._passes = batch, threads, passes
        self._wake, self._stopping = wake, stopping
        self._brief = True
        self._suspicious = False
        self._work: queue.SimpleQueue[tuple[str, Claim] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        # Threads whose compute is past its limit: counted no longer, they end when it does.
        self._written_off: set[threading.Thread] = set()

    @property
    def threaded(self) -> bool:
        return self._count > 0

    def begin(self) -> None:
        """Begin the threads."""
        for _ in range(self._count):
            self._begin_thread()

    def end(self) -> None:
        """Let the threads go, once they have ended what they do."""
        for _ in self._threads:
            self._work.put(None)

    def take(self, alias: str, claim: Callable[[int], list[Claim]]) -> int:
        """Claim as many as there is room for, hold and beat them; none once it is to stop. Returns how many."""
        with self._taking:
            if self._stopping.is_set():
                return 0
            claims = claim(self.room())
            for claimed in claims:
                beats().hold(alias, claimed, permit=_limited(claimed))
            with self._lock:
                self._waiting.extend((alias, claimed) for claimed in claims)
        return len(claims)

    def held(self, *, wait: float = 0.0) -> list[tuple[str, Claim]]:
        """Return all that is held, begun or not. What is just being claimed is waited for, so many seconds."""
        taken = wait > 0 and self._taking.acquire(timeout=wait)
        try:
            with self._lock:
                return [*self.running.values(), *self._waiting, *self._leaving]
        finally:
            if taken:
                self._taking.release()

    def carry_out(self) -> None:
        """Carry out what is held, or hand it to the threads."""
        if self.threaded:
            self._hand_out()
        else:
            self._run_all()

    def room(self) -> int:
        """Return how many more may be claimed now."""
        if self.threaded and self._suspicious:
            return 0 if self.running else 1
        if self.threaded:
            return max(self._count - len(self.running) - len(self._waiting), 0)
        # Many short refreshes are claimed together; a long one alone, or it would keep the others from idle
        # workers.
        return self._batch if self._brief else 1

    def _run_all(self) -> None:
        # A batch that takes longer than it should gives the rest back: other workers may be idle.
        late = threading.Timer(BATCH_SECONDS, self.release_waiting) if len(self._waiting) > 1 else None
        if late is not None:
            late.daemon = True
            late.start()
        try:
            while not self._stopping.is_set():
                with self._lock:
                    if not self._waiting:
                        break
                    alias, claim = self._waiting.pop(0)
                    self.running[alias, claim.slot] = alias, claim
                if claim.crashes > 1:
                    # It may end this process again: alone, it takes no other's good name along.
                    self.release_waiting()
                begun = time.monotonic()
                self._run(alias, claim)
                self._brief = time.monotonic() - begun < BRIEF_SECONDS
        finally:
            if late is not None:
                late.cancel()
                # What it gives back is due again before anybody looks whether anything is, or this process ends.
                late.join()

    def _hand_out(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
            # What may have ended a process runs alone, or those beside it would be suspected with it next time.
            suspects = [one for one in waiting if one[1].crashes > 1]
            if suspects or not self.running:
                self._suspicious = bool(suspects)
            alone = suspects[:1] if suspects and not self.running and len(waiting) == len(suspects) else []
            given_back = [one for one in suspects if one not in alone]
            handed = [one for one in waiting if one not in suspects] + alone
            for alias, claim in handed:
                self.running[alias, claim.slot] = alias, claim
            self._leaving += given_back
        self._release_leaving()
        for one in handed:
            self._work.put(one)

    def _run(self, alias: str, claim: Claim) -> None:
        passes = self._passes.get(alias)
        owner = passes.owner if passes is not None else ""
        me = threading.current_thread()

        def timed_out(error: ComputeTimeout) -> None:
            with self._lock:
                if me not in self._threads:
                    return  # the main thread is interrupted instead
                self._threads.remove(me)
                self._written_off.add(me)
                self.running.pop((alias, claim.slot), None)
            self._begin_thread()

        try:
            if claim.lost:
                return
            outcome = "failed"  # where the alarm rings between the compute's end and ours
            with self._limited(claim):
                sessions = compute.private_sessions(alias)
                outcome = run(claim, alias, sessions, worker=owner, timed_out=timed_out)
            if outcome == "failed":
                self.failed += 1
            elif outcome not in ("planned", "skipped", "begun", "released"):
                self.done += 1
        except (DatabaseErrors, OSError, private.Busy) as error:
            logger.error("refresh.unfinished key=%s error=%r; its lease will end", claim.key, error)
        finally:
            with self._lock:
                if self.running.get((alias, claim.slot), (alias, None))[1] is claim:
                    del self.running[alias, claim.slot]
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
    def _limited(self, claim: Claim) -> Iterator[None]:
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
            self._wake()
        connections.close_all()

    def release_waiting(self) -> None:
        """Give back what has not been begun."""
        with self._lock:
            self._leaving += self._waiting
            self._waiting = []
        self._release_leaving()

    def _release_leaving(self) -> None:
        # One by one, and known as held until it is done: who is told to end at once in the middle gives back the rest.
        for alias, claim in list(self._leaving):
            self.release(alias, claim)
            with self._lock, contextlib.suppress(ValueError):  # another thread did
                self._leaving.remove((alias, claim))

    def release(self, alias: str, claim: Claim) -> None:
        """Give a refresh back; whatever comes of it is refused."""
        beats().let_go(alias, claim)
        try:
            with private.session(alias, timeout=1.0) as session:
                refreshes.release(session, claim)
            passes = self._passes.get(alias)
            if passes is not None:
                passes.give_back(claim)
        except (DatabaseErrors, private.Busy) as error:
            logger.warning("refresh.not_released key=%s error=%r", claim.key, error)


def _limited(claim: Claim) -> bool:
    """Whether a refresh holds one of its family's places, to be beaten like its lease."""
    primer = registry.primers.get(claim.key.key_base)
    return primer is not None and primer.max_concurrency is not None
