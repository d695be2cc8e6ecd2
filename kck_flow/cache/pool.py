"""The threads of this process that compute what its readers miss, and the one that polls for what others
compute.

Daemon threads, begun when first needed and again after a fork. A thread whose compute runs past its limit is
written off: the pool counts it no longer and begins another in its place.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from django.db import connections

from ..conf import conf

logger = logging.getLogger("kck_flow")

IDLE_SECONDS = 10.0


class Pool:
    """A bounded set of threads; more work than threads waits in order."""

    def __init__(self) -> None:
        self._work: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._threads = 0
        self._idle = 0

    def submit(self, work: Callable[[], None]) -> None:
        """Run ``work`` in a thread of the pool, soon."""
        with self._changed:
            self._work.append(work)
            # Who is idle is counted under the lock that work is taken under: a thread just about to take an
            # earlier piece must not be taken for one that waits for this.
            if len(self._work) > self._idle:
                self._more()
            self._changed.notify()

    def write_off(self) -> None:
        """Count one thread no longer: its compute is past its limit and cannot be stopped."""
        with self._changed:
            self._threads -= 1
            if len(self._work) > self._idle:
                self._more()

    def busy(self) -> int:
        """Return how much is under way or waiting."""
        with self._changed:
            return self._threads - self._idle + len(self._work)

    def _more(self) -> None:
        if self._threads < conf.POOL_THREADS:
            self._threads += 1
            threading.Thread(target=self._loop, name="kck-pool", daemon=True).start()

    def _take(self) -> Callable[[], None] | None:
        with self._changed:
            self._idle += 1
            try:
                if not self._changed.wait_for(lambda: self._work, IDLE_SECONDS):
                    self._threads -= 1
                    return None
                return self._work.popleft()
            finally:
                self._idle -= 1

    def _loop(self) -> None:
        me: Any = threading.current_thread()
        while (work := self._take()) is not None:
            try:
                work()
            except BaseException:
                logger.exception("pool.failed")
            finally:
                # What a compute opened is its own, and is closed after it (G10).
                connections.close_all()
            if getattr(me, "written_off", False):
                return


_pools: dict[int, Pool] = {}


def pool() -> Pool:
    """Return this process's pool."""
    found = _pools.get(os.getpid())
    return found if found is not None else _pools.setdefault(os.getpid(), Pool())
