"""What a stored row is worth to its reader: fresh, stale or missing; and, when a computation has failed, still good."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from .. import clock
from ..changes import fold
from ..conf import conf
from ..entry import Entry, State
from ..key import Key
from ..primer import Primer
from ..store.products import Stored
from ..store.refreshes import instant
from ..store.session import loads
from ..storing import encode

logger = logging.getLogger("kck_flow")

FRESH, STALE, MISSING = "fresh", "stale", "missing"


def judge(
    primer: Primer | None, key: Key, stored: Stored | None, max_age: float | None = None
) -> tuple[str, str | None]:
    """Return (fresh, stale or missing; the value's text with what is on its way folded in)."""
    if stored is None or stored.state == "unset":
        return MISSING, None
    now = clock.now().timestamp() if clock.is_moved() else stored.now
    if stored.invalid or (stored.hard_expires_at is not None and now >= stored.hard_expires_at):
        return MISSING, None
    if primer is not None and (stored.primer_version != primer.version or primer.always_fresh):
        return MISSING, None
    if stored.pending == 2 or (stored.pending and stored.dirty):
        return MISSING, None
    if max_age is not None and (stored.computed_at is None or now - stored.computed_at > max_age):
        return MISSING, None
    text = stored.value
    if stored.changes is not None and primer is not None:
        waiting = loads(stored.changes)
        if len(waiting) > conf.PENDING_LIMIT:
            return MISSING, None
        changes = fold.fresh_changes(waiting)
        try:
            value = fold.apply(primer, key, text, changes)
            text, state = encode(key, primer, primer.codec, value)
            stored.state = state
        except Exception as error:
            logger.warning("augment.failed key=%s error=%r", key, error)
            return MISSING, None
        stored.value = text
    if stored.pending == 1 or (stored.soft_expires_at is not None and now >= stored.soft_expires_at):
        return STALE, text
    return FRESH, text


def within_policy(primer: Primer, stored: Stored, max_age: float | None) -> bool:
    """Whether the value that could not be refreshed may be served all the same."""
    if stored.state == "unset" or stored.primer_version != primer.version:
        return False
    now = clock.now().timestamp() if clock.is_moved() else stored.now
    since = [at for at in (stored.hard_expires_at, stored.invalid_since) if at is not None and at <= now]
    allowance = primer.stale_if_error.total_seconds()
    if since:
        return now < min(since) + allowance
    if max_age is not None and not primer.always_fresh and not stored.pending:
        return True  # only this caller found it too old
    return allowance > 0


def entry_of(key: Key, stored: Stored, value: Any, state: Any) -> Entry:
    """Return the entry of a stored product."""
    now = clock.now().timestamp() if clock.is_moved() else stored.now
    age = timedelta(seconds=max(now - stored.computed_at, 0)) if stored.computed_at is not None else None
    return Entry(
        str(key),
        value,
        stored.version,
        instant(stored.computed_at),
        instant(stored.soft_expires_at),
        instant(stored.hard_expires_at),
        state,
        age,
    )


def state(*, served: bool, stale: bool, running: bool, attempts: int, waits: bool) -> State:
    """Return what a product is called that stands so: pages, API, command line and admin say it by this.

    Args:
        served: Whether a read would deliver what is stored.
        stale: Whether a new value is wanted of it.
        running: Whether somebody computes it now.
        attempts: How often in a row its compute has failed.
        waits: Whether it is not tried again for now: it backs off, or is parked.
    """
    if not served:
        return "computing" if running else "failed" if attempts else "empty"
    if not stale:
        return "fresh"
    if running:
        return "computing"
    return "failed" if attempts and waits else "stale"
