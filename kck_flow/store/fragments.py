"""Entries of Django's caches, kept as products without a primer; and who makes one that is missing.

Nothing computes them, so that one which is deleted is gone, and its versions begin anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from .session import Session


def read(session: Session, digests: Sequence[UUID]) -> dict[str, str]:
    """Return the values (JSON) of those that are there and not expired, by digest text."""
    return dict(session.rows("read_fragments", {"digests": list(digests)}))


def lock(session: Session, digest: UUID) -> tuple[str, float | None] | None:
    """Hold an entry until the transaction ends; returns its value (JSON) and how many seconds it has left."""
    row = session.row("lock_fragment", {"digest": digest})
    return (row[0], row[1]) if row else None


def touch(session: Session, digest: UUID, seconds: float | None) -> bool:
    """Have an entry expire in so many seconds, or never; False where there is none."""
    return bool(session.rows("touch_fragment", {"digest": digest, "seconds": seconds}))


def delete(session: Session, digests: Sequence[UUID]) -> int:
    """Delete entries; returns how many of them were there and not expired."""
    return sum(row[0] for row in session.rows("delete_fragments", {"digests": list(digests)}))


def clear(session: Session, key_base: str) -> None:
    """Delete all of a cache."""
    session.run("DELETE FROM kck_product WHERE key_base = %s", [key_base])


def cull(session: Session, key_base: str, digest: UUID, most: int, frequency: int) -> None:
    """Make room for an entry in a cache that has so many others: what has expired goes; if that is not enough, one in
    ``frequency`` of the rest, those written longest ago; all of it where that is 0.
    """
    params = {"key_base": key_base, "digest": digest, "most": most, "frequency": frequency}
    session.rows("cull_fragments", params)


def is_made(session: Session, digest: UUID) -> bool:
    """Whether somebody makes an entry just now."""
    return bool(session.rows("is_fragment_made", {"digest": digest}))


def begin(session: Session, digest: UUID, seconds: float) -> datetime | None:
    """Be the one who makes an entry, for so many seconds; returns until when, or None where somebody else is."""
    row = session.row("begin_fragment", {"digest": digest, "seconds": seconds})
    return row[0] if row else None


def end(session: Session, digest: UUID, until: datetime) -> None:
    """Be it no more."""
    session.run("DELETE FROM kck_flight WHERE digest = %s AND lease_until = %s", [digest, until])


_FORGOTTEN = "FROM kck_flight WHERE lease_until < clock_timestamp() - interval '1 hour'"


def forgotten(session: Session) -> int:
    """Return how many began to make an entry and never came to an end."""
    return int(session.run(f"SELECT count(*) {_FORGOTTEN}")[0][0])


def forget(session: Session) -> int:
    """Delete the notes of them; returns how many there were."""
    return len(session.run(f"DELETE {_FORGOTTEN} RETURNING 1"))
