"""What nobody needs any more: expired products, those above a family's bound, old tombstones, records and runs.

In short transactions, a batch each. A product is deleted only while its slot is held and idle: what is computed just
now must find the row it began from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from .session import Session

BATCH = 500
FIRST = UUID(int=0)


def expired(session: Session, graces: Mapping[str, float]) -> int:
    """Return how many products are past their hard expiry (and their family's grace, seconds)."""
    return _count(session, "count_expired", _graces(graces))


def prune_expired(session: Session, graces: Mapping[str, float]) -> Iterator[int]:
    """Delete products past their hard expiry; yields how many each batch had."""
    yield from _prune(session, "find_expired", _graces(graces))


def tombstones(session: Session, days: float) -> int:
    """Return how many products were unset more than ``days`` ago."""
    return _count(session, "count_tombstones", {"days": days})


def prune_tombstones(session: Session, days: float) -> Iterator[int]:
    """Delete what products left that were unset more than ``days`` ago; yields how many each batch had."""
    yield from _prune(session, "find_tombstones", {"days": days})


def crowd(session: Session, key_base: str, most: int) -> int:
    """Return how many products a family has above ``most``."""
    return _count(session, "count_crowd", {"key_base": key_base, "most": most})


def prune_crowd(session: Session, key_base: str, most: int) -> Iterator[int]:
    """Delete a family's products above ``most``, the long unread first; yields how many each batch had."""
    excess = crowd(session, key_base, most)
    yield from _prune(session, "find_crowd", {"key_base": key_base}, most=excess)


def prune_windows(session: Session, digests: Sequence[UUID]) -> Iterator[int]:
    """Delete windows of a topic; yields how many each batch had. What is written just now is left for the next time."""
    for first in range(0, len(digests), BATCH):
        with session.transaction():
            gone = _delete(session, digests[first : first + BATCH])
        if gone:
            yield gone


def old_records(session: Session, key_base: str, seconds: float) -> int:
    """Return how many records of a family were replaced more than so long ago."""
    return _count(session, "count_old_records", {"key_base": key_base, "seconds": seconds})


def prune_records(session: Session, key_base: str, seconds: float) -> Iterator[int]:
    """Delete those; the one that held when the kept time began stays. Yields how many each batch had."""
    while True:
        gone = session.rows("prune_records", {"key_base": key_base, "seconds": seconds, "limit": BATCH})
        if gone:
            yield len(gone)
        if len(gone) < BATCH:
            return


def old_runs(session: Session, days: float) -> int:
    """Return how many runs ended more than ``days`` ago."""
    return _count(session, "count_old_runs", {"days": days})


def _graces(graces: Mapping[str, float]) -> dict[str, Any]:
    return {"key_bases": list(graces), "graces": list(graces.values())}


def _count(session: Session, name: str, params: Mapping[str, Any]) -> int:
    row = session.row(name, params)
    assert row is not None
    return int(row[0])


def _prune(
    session: Session, find: str, params: Mapping[str, Any], *, most: int | None = None
) -> Iterator[int]:
    """Find, hold and delete, batch by batch, until nothing more is found (or ``most`` were looked at)."""
    place: tuple[Any, ...] = (None, FIRST)
    left = most
    while left is None or left > 0:
        limit = BATCH if left is None else min(left, BATCH)
        with session.transaction():
            found = session.rows(
                find, {**params, "limit": limit, "after": place[0], "after_digest": place[1]}
            )
            if not found:
                return
            place = found[-1][1], found[-1][0]
            gone = _delete(session, [row[0] for row in found])
        left = left - len(found) if left is not None else None
        if gone:
            yield gone


def _delete(session: Session, digests: Sequence[UUID]) -> int:
    """Delete those of some products that nobody computes just now; returns how many."""
    free = [row[0] for row in session.rows("hold_idle", {"digests": list(digests)})]
    return len(session.rows("prune_products", {"digests": free})) if free else 0
