"""What a read leaves behind: the refresh of a stale value, the fold of waiting changes, and on which day it was; in the
pool, never in the way.

A stale value is asked for once: by a request that a worker takes up, or, where no worker lives, by a flight
of this process (``REFRESH_IN_PROCESS``).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from uuid import UUID

from django.db import Error as DatabaseErrors

from .. import waking
from ..changes import fold as folding
from ..changes.drain import BATCH, drain
from ..conf import conf
from ..key import Key
from ..primer import Primer
from ..store import private, products, refreshes, workers
from ..store.products import Stored
from ..store.session import caller
from ..storing import args_of
from . import flight
from .pool import pool

logger = logging.getLogger("kck_flow")

# What this process has asked for lately: a thousand reads of one stale value ask once.
ASK_AGAIN_SECONDS = 1.0
WORKERS_FOR_SECONDS = 5.0
FOLD_SECONDS = 1.0
TIDY_SECONDS = 30.0
# Of what was read, so much is remembered until it is told: a sample, and a statement that ends in milliseconds.
READ_MOST = 1000
READ_SECONDS = 300.0
READ_FIRST_SECONDS = 10.0

_asked: dict[UUID, tuple[int, float | None, float]] = {}
_folded: dict[UUID, float] = {}
_tidied: dict[str, float] = {}
_living: dict[str, tuple[float, bool]] = {}
_later: dict[str, threading.Timer] = {}
_read: dict[str, set[str]] = {}
_read_from = _tell_at = 0.0
_lock = threading.Lock()


def refresh(primer: Primer, key: Key, alias: str, stored: Stored) -> None:
    """Have a stale product refreshed, once; the reader is on its way already."""
    want(primer, key, alias, stored.version, stored.computed_at)


def want(primer: Primer, key: Key, alias: str, version: int, computed_at: float | None) -> None:
    """Have a product computed that was seen at a version, once."""
    now = time.monotonic()
    with _lock:
        asked = _asked.get(key.digest)
        if asked is not None and asked[:2] == (version, computed_at) and now - asked[2] < ASK_AGAIN_SECONDS:
            return
        if len(_asked) > 50_000:
            _asked.clear()
        _asked[key.digest] = (version, computed_at, now)
    pool().submit(lambda: _refresh(primer, key, alias))


def _refresh(primer: Primer, key: Key, alias: str) -> None:
    here = conf.REFRESH_IN_PROCESS
    try:
        if here is True or (here == "auto" and not worker_lives(alias)):
            if primer.min_gap and not _rested(primer, key, alias):
                return
            boarded, new = flight.board(primer, key, alias, reason="stale", hook="refresh")
            if new:
                flight.carry(boarded)
            return
        with private.session(alias) as session:
            refreshes.request(
                session,
                key,
                args_of(primer, key),
                lane=min(primer.priority, refreshes.SCHEDULED),
                reason="stale",
                always=False,
                gap=primer.min_gap.total_seconds(),
            )
    except (private.Busy, DatabaseErrors) as error:
        logger.debug("behind.not_asked key=%s error=%r", key, error)
        with _lock:
            _asked.pop(key.digest, None)  # the next read asks again


def _rested(primer: Primer, key: Key, alias: str) -> bool:
    with private.session(alias) as session:
        return refreshes.rested(session, key.digest, primer.min_gap.total_seconds())


def worker_lives(alias: str) -> bool:
    """Whether a worker was seen lately; the answer is kept for some seconds."""
    now = time.monotonic()
    known = _living.get(alias)
    if known is not None and now - known[0] < WORKERS_FOR_SECONDS:
        return known[1]
    with private.session(alias) as session:
        lives = workers.living(session, conf.WORKER_SEEN_SECONDS) > 0
    _living[alias] = (now, lives)
    return lives


def tidy(alias: str) -> None:
    """Where no worker lives, drain now and then what is on its way: nobody else would, and reads look at each
    mark.
    """
    now = time.monotonic()
    with _lock:
        if now - _tidied.get(alias, 0.0) < TIDY_SECONDS:
            return
        _tidied[alias] = now
    pool().submit(lambda: _tidy(alias))


def tidy_later(alias: str) -> None:
    """Where no worker lives, have what this process has written drained some time after it, too: of what was computed
    while the writer was open, only the drain knows that it is stale.
    """
    with _lock:
        if alias not in _later:
            _later[alias] = threading.Timer(TIDY_SECONDS, lambda: _tidy_now(alias))
            _later[alias].daemon = True
            _later[alias].start()


def _tidy_now(alias: str) -> None:
    with _lock:
        _later.pop(alias, None)
    _tidy(alias)


def _tidy(alias: str) -> None:
    try:
        if not worker_lives(alias):
            with private.session(alias) as session:
                while drain(session).marks >= BATCH:
                    pass
    except (private.Busy, DatabaseErrors) as error:
        logger.debug("behind.not_tidied alias=%s error=%r", alias, error)


waking.listeners.append(tidy_later)


def note_read(key: Key, alias: str) -> None:
    """Remember that a product of a family with a bound (``max_entries``) was read: the long unread go first.

    Most reads only add to a set. When five minutes are over, the next read has a thread of the pool tell the store;
    what is more than the set takes is left out, and may be in the next.
    """
    due = _tell_at
    if time.monotonic() >= due:
        tell_read(due)
    digests = _read.get(alias)
    if digests is None:
        digests = _read.setdefault(alias, set())
    if len(digests) < READ_MOST:
        digests.add(key.digest_text)


def tell_read(due: float | None = None) -> None:
    """Tell the store what was read since it was told last; inside a TestCase it is forgotten.

    Args:
        due: For what was due then, and not if it was told meanwhile.
    """
    global _read, _read_from, _tell_at
    with _lock:
        if due is not None and due != _tell_at:
            return
        now = time.monotonic()
        # It was read in the minutes after this, however long ago: then nobody has read since.
        told, since = _read, _read_from
        _read, _read_from = {}, now
        _tell_at = now + (READ_SECONDS if _tell_at else READ_FIRST_SECONDS)
    if told and not private.in_test_case():
        pool().submit(lambda: _tell_read(told, now - since))


def _tell_read(told: dict[str, set[str]], ago: float) -> None:
    for alias, digests in list(told.items()):
        try:
            with private.session(alias) as session:
                products.read_on_a_day(session, digests.copy(), ago=ago)
        except (private.Busy, DatabaseErrors) as error:
            logger.debug("behind.not_told alias=%s error=%r", alias, error)


def forget() -> None:
    """Forget what was asked for, what was read and who lives (between tests)."""
    global _tell_at
    with _lock:
        _read.clear()
        _tell_at = 0.0
        _asked.clear()
        _folded.clear()
        _living.clear()
        _tidied.clear()
        for timer in _later.values():
            timer.cancel()
        _later.clear()


def request_in_test(primer: Primer, key: Key, alias: str) -> None:
    """Inside a TestCase the wish stands in the test's own transaction; nobody computes until
    ``run_worker()``.
    """
    refreshes.request(
        caller(alias),
        key,
        args_of(primer, key),
        lane=primer.priority,
        reason="stale",
        always=False,
        gap=primer.min_gap.total_seconds(),
    )


def fold(primer: Primer, key: Key, alias: str) -> None:
    """Have waiting changes folded into a product, at most once a second and process."""
    now = time.monotonic()
    with _lock:
        if now - _folded.get(key.digest, 0.0) < FOLD_SECONDS:
            return
        if len(_folded) > 50_000:
            _folded.clear()
        _folded[key.digest] = now

    def work() -> None:
        try:
            with private.session(alias) as session:
                folding.fold(session, primer, key)
        except (private.Busy, DatabaseErrors) as error:
            logger.debug("behind.not_folded key=%s error=%r", key, error)

    pool().submit(work)


def _after_fork() -> None:
    global _lock
    # The parent's lock may have been held by a thread that does not exist here.
    _lock = threading.Lock()
    _later.clear()


os.register_at_fork(after_in_child=_after_fork)
