"""The threads of this process that compute what its readers miss, and the one that polls for what others
compute.

Daemon threads, begun when first needed and again after a fork. A thread whose compute runs past its limit is
written off: the pool counts it no longer and begins another in its place.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable
from typing import Any

from django.db import connections

from ..conf import conf

logger = logging.getLogger("kck_flow")

IDLE_SECONDS = 10.0


class Pool:
    """A bounded set of threads; more work than threads waits in order."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0

    def submit(self, work: Callable[[], None]) -> None:
        """Run ``work`` in a thread of the pool, soon."""
        with self._lock:
            self._work.put(work)
            # SimpleQueue.qsize counts what waits, this included: more than the idle can take needs one more.
            if self._work.qsize() > self._idle and self._threads < conf.POOL_THREADS:
                self._threads += 1
                threading.Thread(target=self._loop, name="kck-pool", daemon=True).start()

    def write_off(self) -> None:
        """Count one thread no longer: its compute is past its limit and cannot be stopped."""
        with self._lock:
            self._threads -= 1
            if self._work.qsize() and self._threads < conf.POOL_THREADS:
                self._threads += 1
                threading.Thread(target=self._loop, name="kck-pool", daemon=True).start()

    def _loop(self) -> None:
        me: Any = threading.current_thread()
        while True:
            with self._lock:
                self._idle += 1
            try:
                work = self._work.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    self._idle -= 1
                    if self._work.qsize():
                        continue
                    self._threads -= 1
                return
            with self._lock:
                self._idle -= 1
            try:
                work()
            except Exception:
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
