"""What time it is, in one place.

The database's clock decides (several machines, one clock): statements say ``{now}`` and the store writes
``clock_timestamp()`` there. Tests move time for both sides at once: in this process with ``override``
(``kck_flow.testing.freeze_time``), in processes they start through the environment variable
``KCK_FLOW_CLOCK_OFFSET``, seconds to add, which a session's statements carry as a literal.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

_frozen: datetime | None = None
_offset: timedelta = timedelta(seconds=float(os.environ.get("KCK_FLOW_CLOCK_OFFSET") or 0))


def now() -> datetime:
    """Return the current instant, aware, in UTC."""
    if _frozen is not None:
        return _frozen
    if _offset:
        return datetime.now(UTC) + _offset
    return datetime.now(UTC)


def override(at: datetime | None, offset: timedelta | None = None) -> None:
    """Freeze this process's clock at ``at`` (aware), or let it run again with None; ``offset`` shifts it."""
    global _frozen, _offset
    if at is not None and at.tzinfo is None:
        raise ValueError(f"The clock wants an aware instant, not the naive {at!r}.")
    _frozen = at.astimezone(UTC) if at is not None else None
    if offset is not None:
        _offset = offset


def is_moved() -> bool:
    """Whether time is frozen or shifted (then the database's clock is not believed)."""
    return _frozen is not None or bool(_offset)


def is_frozen() -> bool:
    """Whether time stands still: a test has stopped it."""
    return _frozen is not None


def sql() -> str:
    """Return the SQL expression for the current instant, for the ``{now}`` of a statement."""
    if _frozen is not None:
        return f"timestamptz '{_frozen.isoformat()}'"
    if _offset:
        return f"(clock_timestamp() + interval '{_offset.total_seconds()} seconds')"
    return "clock_timestamp()"
