"""Who depends on whom, as seen when the downstream product was last computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from ..key import Key
from .session import Session


@dataclass(frozen=True, slots=True)
class Read:
    """What a computation has read.

    Attributes:
        version: The upstream's version; 0 when nothing was there, None when it has none (computed, not stored).
        epoch: How often it had been invalidated.
        mode: What its change does downstream.
    """

    key: Key
    version: int | None
    epoch: int
    mode: str


def save(session: Session, key: Key, reads: Sequence[Read]) -> None:
    """Replace the recorded edges of ``key``."""
    session.rows(
        "save_edges",
        {
            "digest": key.digest,
            "key": str(key),
            "upstreams": [read.key.digest for read in reads],
            "keys": [str(read.key) for read in reads],
            "key_bases": [read.key.key_base for read in reads],
            "versions": [read.version for read in reads],
            "modes": [read.mode for read in reads],
        },
    )


def moved(session: Session, reads: Sequence[Read]) -> bool:
    """Whether something that was read is no longer as it was read; asked after the edges are committed."""
    held = [read for read in reads if read.version is not None]
    if not held:
        return False
    row = session.row(
        "upstreams_moved",
        {
            "upstreams": [read.key.digest for read in held],
            "versions": [read.version for read in held],
            "epochs": [read.epoch for read in held],
        },
    )
    return bool(row and row[0])


# Edges of what has no version, of which few are: an index of their own finds them.
_COUNTED = "FROM kck_edge WHERE version_read IS NULL"
_OF_FAMILY = " AND split_part(upstream_key, '/', 1) = %s"


def read_counted(session: Session, key_base: str | None = None) -> bool:
    """Whether a computation has read a stock or a flow (of this family)."""
    where, params = (_OF_FAMILY, [key_base]) if key_base is not None else ("", [])
    return bool(session.run(f"SELECT EXISTS (SELECT 1 {_COUNTED}{where})", params)[0][0])


def counted_upstreams(session: Session, key_base: str) -> list[tuple[UUID, str]]:
    """Return (digest, key) of what was read of a stock or flow."""
    rows = session.run(f"SELECT DISTINCT upstream, upstream_key {_COUNTED}{_OF_FAMILY}", [key_base])
    return [(row[0], row[1]) for row in rows]


def around(session: Session, digests: Sequence[UUID], depth: int) -> list[tuple[Any, ...]]:
    """Return recorded edges within ``depth`` steps of some products: (upstream key, downstream key, mode,
    version read).
    """
    return session.rows("edges_around", {"digests": list(digests), "depth": depth})


def every(session: Session, limit: int) -> list[tuple[Any, ...]]:
    """Return recorded edges of all products: (upstream key, downstream key, mode, version read)."""
    return session.run(
        "SELECT upstream_key, downstream_key, mode, version_read FROM kck_edge "
        "ORDER BY upstream_key, downstream_key LIMIT %s",
        [limit],
    )


def applied(session: Session, upstream: UUID, downstream: UUID) -> int | None:
    """Return the upstream version that the downstream product contains, or None where no edge is recorded."""
    rows = session.run(
        "SELECT version_read FROM kck_edge WHERE upstream = %s AND downstream = %s", [upstream, downstream]
    )
    return rows[0][0] if rows else None
