"""Telling listening workers that something is on its way: a hint, with a poll behind it.

Never inside the caller's transaction: NOTIFY there would make its writers commit one after the other. After
its commit a thread of its own sends at most ten a second, empty.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

from django.db import connections, transaction

from .store import private, refreshes
from .store.session import Session

logger = logging.getLogger("kck_flow")

LEAST_PAUSE = 0.1


class _Waker:
    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._wanted: set[str] = set()
        self._thread: threading.Thread | None = None

    def wake(self, alias: str) -> None:
        with self._lock:
            self._wanted.add(alias)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._loop, name="kck-wake", daemon=True)
                self._thread.start()
            self._lock.notify()

    def _loop(self) -> None:
        while True:
            with self._lock:
                if not self._wanted and not self._lock.wait(10.0) and not self._wanted:
                    self._thread = None
                    private.close_idle()
                    return
                wanted, self._wanted = self._wanted, set()
            for alias in wanted:
                try:
                    with private.session(alias, private.WAKE) as session:
                        session.run(f"NOTIFY {refreshes.CHANNEL}")
                except Exception as error:  # a hint: the workers' poll finds it all the same
                    logger.debug("wake.failed alias=%s error=%r", alias, error)
            time.sleep(LEAST_PAUSE)


_wakers: dict[int, _Waker] = {}


def soon(session: Session) -> None:
    """Wake the workers once what this session has written is committed."""
    if private.in_test_case():
        return
    if session.is_private:
        session.run(f"NOTIFY {refreshes.CHANNEL}")  # our own short transaction: nobody queues behind it
        _tell(session.alias.removesuffix(private.SUFFIX))
    elif connections[session.alias].in_atomic_block:
        alias = session.alias
        transaction.on_commit(lambda: wake(alias), using=alias)
    else:
        wake(session.alias)


def wake(alias: str) -> None:
    """Wake the workers now, from a thread of its own."""
    _tell(alias)
    _wakers.setdefault(os.getpid(), _Waker()).wake(alias)


# Who else wants to know that something is on its way in a database: called with its alias, and quick.
listeners: list[Callable[[str], None]] = []


def _tell(alias: str) -> None:
    for listener in listeners:
        listener(alias)
