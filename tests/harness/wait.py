"""Waiting for what announces itself to nobody."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(probe: Callable[[], T], what: str, *, limit: float = 20.0) -> T:
    """Ask `probe` again and again until its answer is true, and return that answer.

    Only for what can be found out in no other way (a row of pg_locks, a port that opens). Where somebody can
    tell us (a pipe, an event), we wait for that instead.

    Args:
        probe: The question; it may be asked hundreds of times.
        what: What is waited for, for the message.
        limit: Seconds.

    Raises:
        AssertionError: The time ran out.
    """
    deadline = time.monotonic() + limit
    while not (answer := probe()):
        if time.monotonic() > deadline:
            raise AssertionError(f"Waited {limit:g} s in vain for {what}; the last answer was {answer!r}.")
        time.sleep(0.01)
    return answer
