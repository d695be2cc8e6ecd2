"""What products held then: one row per change or per period, appended, never edited."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ..key import Key
from .session import Session


def append(
    session: Session, key: Key, *, value: str | None, version: int, primer_version: int, at: float
) -> int:
    """Append the value a product has from ``at`` (POSIX seconds) on; returns the record's id."""
    row = session.row(
        "record",
        {
            "digest": key.digest,
            "key": str(key),
            "key_base": key.key_base,
            "value": value,
            "version": version,
            "primer_version": primer_version,
            "at": at,
        },
    )
    return int(row[0]) if row else 0


def between(session: Session, key: Key, start: datetime, end: datetime) -> list[tuple[datetime, Any]]:
    """Return (instant, value text) of the records in ``[start, end)`` and the one before ``start``, oldest
    first.
    """
    rows = session.rows("records", {"digest": key.digest, "start": start, "end": end})
    return [(datetime.fromtimestamp(row[0], UTC), row[1]) for row in rows]


def count(session: Session, keys: Sequence[Key]) -> int:
    """Return how many records some products have."""
    return int(
        session.run("SELECT count(*) FROM kck_record WHERE digest = ANY(%s)", [[key.digest for key in keys]])[
            0
        ][0]
    )
