"""Fresh values in this process's memory, as bytes: no caller can change another's copy.

A value stays at most ``TIER_SECONDS``, and never past its own expiries; that bound holds by the clock alone,
without a listener that could fail. Off by default; never filled or read inside a transaction.
"""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections import OrderedDict
from typing import Any, Final

from django.db import connections

from .. import clock, spread
from ..conf import conf
from ..key import Key
from ..registry import registry

MISS: Final[Any] = object()

_held: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
_lock = threading.Lock()


def get(key: Key) -> Any:
    """Return a copy of what is held of ``key``, or MISS."""
    held = _held.get(key)
    if held is None or held[0] < time.monotonic():
        return MISS
    if clock.is_moved() or connections[spread.alias_of(registry.primers.get(key.key_base))].in_atomic_block:
        return MISS
    return pickle.loads(held[1])


def put(key: Key, value: Any, hard: float | None, soft: float | None, now: float) -> None:
    """Hold a copy of a value just read as fresh; one that cannot be held exactly is not."""
    until = min([conf.TIER_SECONDS] + [at - now for at in (hard, soft) if at is not None])
    if until <= 0 or not _exact(value):
        return
    with _lock:
        _held[key] = (time.monotonic() + until, pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
        _held.move_to_end(key)
        while len(_held) > conf.TIER_ENTRIES:
            _held.popitem(last=False)


def drop(key: Key) -> None:
    """Hold a product no longer (this process has just written it)."""
    with _lock:
        _held.pop(key, None)


def clear() -> None:
    """Hold nothing."""
    with _lock:
        _held.clear()


def _exact(value: Any) -> bool:
    # Pickled here, read here, and by nobody else: these types come back exactly, and run no code.
    kind = type(value)
    if kind in (str, int, float, bool, bytes, type(None)):
        return True
    if kind in (list, tuple, set, frozenset):
        return all(_exact(one) for one in value)
    return kind is dict and all(_exact(name) and _exact(one) for name, one in value.items())


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _held.clear()


os.register_at_fork(after_in_child=_after_fork)
