"""Worker processes: who lives, since when, and the liveness lock that tells at once who has died."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .session import Session, dumps

# The class of our advisory locks: "kck" in hex. Only workers hold them, on a direct connection of their own.
LOCK_CLASS = 0x6B636B
REAPER = 0


def register(
    session: Session,
    *,
    host: str,
    pid: int,
    version: str,
    lanes: Sequence[int],
    products: Sequence[str] | None,
    executor: str,
    concurrency: int,
    mode: str,
) -> int:
    """Enter a worker; returns its number."""
    row = session.row(
        "register_worker",
        {
            "host": host,
            "pid": pid,
            "version": version,
            "lanes": dumps(list(lanes)),
            "products": dumps(products and list(products)),
            "executor": executor,
            "concurrency": concurrency,
            "mode": mode,
        },
    )
    assert row is not None
    return int(row[0])


def ticking(session: Session, executor: str) -> int | None:
    """Return the number under which processes that tick in turn for an executor are listed, all as one; None: none is
    yet. Where two have begun at once, the later entry goes.
    """
    row = session.row("ticking_worker", {"executor": executor})
    return int(row[0]) if row and row[0] is not None else None


def seen(session: Session, number: int, in_flight: int) -> bool:
    """Say that a worker lives; False where its row is gone (it was taken for dead)."""
    return bool(session.rows("worker_seen", {"id": number, "in_flight": in_flight}))


def leave(session: Session, number: int) -> None:
    """Strike a worker off."""
    session.run("DELETE FROM kck_worker WHERE id = %s", [number])


def living(session: Session, within: float) -> int:
    """Return how many workers were seen within so many seconds."""
    row = session.row("living_workers", {"within": within})
    return int(row[0]) if row else 0


def listed(session: Session) -> list[tuple[Any, ...]]:
    """Return the workers for the listings."""
    return session.rows("list_workers", {})


def dead(session: Session) -> list[int]:
    """Return the workers in ``listen`` mode whose liveness lock is gone."""
    return [row[0] for row in session.rows("dead_workers", {"lock_class": LOCK_CLASS})]


def forget_silent(session: Session, seconds: float) -> list[int]:
    """Strike off the workers not seen for so long; returns their numbers."""
    return [row[0] for row in session.rows("forget_workers", {"seconds": seconds})]
