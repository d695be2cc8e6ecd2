"""How reads go, counted in this process and told to the store now and then: what the cache knows of itself.

A thread counts for itself, and its counts only grow; who tells them remembers how far they were told. So none is lost
to another thread, and counting takes no lock.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from typing import Final

from django.db import Error as DatabaseErrors

from ..conf import conf
from ..store import private, usage
from .pool import pool

logger = logging.getLogger("kck_flow")

FRESH, STALE, MISSED, FAILED = range(4)
FIRST_SECONDS: Final = 10.0
TELL_SECONDS: Final = 60.0

Name = tuple[str, str, int]  # alias, key base, how it went


class _Own(threading.local):
    """One thread's counts."""

    def __init__(self) -> None:
        self.counts: dict[Name, int] = {}
        with _lock:
            _all.append((weakref.ref(threading.current_thread()), self.counts, {}))


_lock = threading.Lock()
_telling = threading.Lock()  # two who tell at the same time would tell the same growth twice
_all: list[tuple[weakref.ref[threading.Thread], dict[Name, int], dict[Name, int]]] = []
_own = _Own()
_due = time.monotonic() + FIRST_SECONDS


def note(alias: str, key_base: str, how: int) -> None:
    """Count a read: ``FRESH``, ``STALE``, ``MISSED`` or ``FAILED``."""
    counts, name = _own.counts, (alias, key_base, how)
    counts[name] = counts.get(name, 0) + 1
    if time.monotonic() >= _due:
        _tell_later()


def _tell_later() -> None:
    global _due
    with _lock:
        if time.monotonic() < _due:
            return
        _due = time.monotonic() + TELL_SECONDS
    if conf.COUNT_READS and not private.in_test_case():
        pool().submit(tell)


def tell() -> None:
    """Tell the store what was counted since it was told last; where it cannot be, it is told with the next."""
    with _telling:
        _tell()


def _tell() -> None:
    with _lock:
        known = list(_all)
    grown: dict[str, dict[str, list[int]]] = {}
    now: list[tuple[dict[Name, int], dict[Name, int]]] = []
    for _thread, counts, told in known:
        seen = counts.copy()
        now.append((told, seen))
        for name, count in seen.items():
            alias, key_base, how = name
            if count > told.get(name, 0):
                of = grown.setdefault(alias, {}).setdefault(key_base, [0, 0, 0, 0])
                of[how] += count - told.get(name, 0)
    for alias, families in grown.items():
        try:
            with private.session(alias) as session:
                usage.add(session, {name: tuple(counts) for name, counts in families.items()})  # type: ignore[misc]
        except (private.Busy, DatabaseErrors) as error:
            logger.debug("reads.not_told alias=%s error=%r", alias, error)
            continue
        for told, seen in now:
            told.update((name, count) for name, count in seen.items() if name[0] == alias)
    with _lock:
        _all[:] = [one for one in _all if _lives(one[0]) or one[1] != one[2]]


def _lives(of: weakref.ref[threading.Thread]) -> bool:
    thread = of()
    return thread is not None and thread.is_alive()


def forget() -> None:
    """Forget what was counted: between tests, and in a forked child, whose parent tells it."""
    global _lock, _telling, _due, _own
    _lock = threading.Lock()
    _telling = threading.Lock()
    _all.clear()
    _own = _Own()
    _due = time.monotonic() + FIRST_SECONDS


os.register_at_fork(after_in_child=forget)
