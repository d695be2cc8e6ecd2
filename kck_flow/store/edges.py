"""Who depends on whom, as seen when the downstream product was last computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from ..key import Key
from .session import Session


def save(session: Session, key: Key, reads: Sequence[tuple[Key, int | None, str]]) -> None:
    """Replace the recorded edges of ``key``: (upstream key, version read, mode) each."""
    session.rows(
        "save_edges",
        {
            "digest": key.digest,
            "key": str(key),
            "upstreams": [upstream.digest for upstream, _, _ in reads],
            "keys": [str(upstream) for upstream, _, _ in reads],
            "versions": [version for _, version, _ in reads],
            "modes": [mode for _, _, mode in reads],
        },
    )


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


def mark_moved(session: Session, key: Key) -> bool:
    """Append a stale mark for a product one of whose upstreams has another version than it read; returns
    whether.
    """
    return bool(session.rows("mark_moved", {"digest": key.digest, "key_base": key.key_base}))
