"""Marks on their way become refreshes and stale entries: the worker's side of the outbox.

A drain locks a batch, makes of each mark what it says, and deletes exactly that batch, in one transaction.
The slot is touched before the product, always: a publish under way has either seen the mark or finds its slot
or row changed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from ..primer import Primer
from ..registry import registry
from ..store import families, pending, products, refreshes
from ..store.session import Session, loads
from ..storing import args_of

logger = logging.getLogger("kck_flow")

BATCH = 500
MANUAL_SOURCES = {"0", "1", "2", "3", "4", "5", "6", "7", "8"}


@dataclass
class Drained:
    """What one pass did: how many marks it took, which keys it asked to refresh."""

    marks: int = 0
    requested: list[str] = field(default_factory=list)


def drain(session: Session, *, limit: int = BATCH) -> Drained:
    """Drain one batch. Everything commits together, or nothing has happened."""
    done = Drained()
    with session.transaction():
        rows = pending.batch(session, limit)
        if not rows:
            return done
        paused = set(families.paused(session))
        wanted: dict[str, tuple[Any, list[tuple[str, str, str]]]] = {}
        for _number, key_base, digest, args, kind, source, reason, text in rows:
            if digest is None:
                _family(session, key_base, loads(args), kind, reason, paused, done)
            elif text is not None:
                wanted.setdefault(text, (key_base, []))[1].append((kind, source, reason))
            # A mark of a product without value and slot changes nothing: whoever computes it first sees the
            # cause.
        refreshes.lock_slots(
            session, [registry.stored_key(text, base).digest for text, (base, _) in wanted.items()]
        )
        for text, (key_base, marks) in sorted(
            wanted.items(), key=lambda item: registry.stored_key(item[0], item[1][0]).digest
        ):
            _one(session, text, key_base, marks, paused, done)
        pending.delete(session, [row[0] for row in rows])
        done.marks = len(rows)
    return done


def _one(
    session: Session,
    text: str,
    key_base: str,
    marks: list[tuple[str, str, str]],
    paused: set[str],
    done: Drained,
) -> None:
    key = registry.stored_key(text, key_base)
    primer = registry.primers.get(key_base)
    kinds = {kind for kind, _, _ in marks}
    reason = marks[-1][2]
    if "refresh" in kinds and primer is not None and (key_base not in paused or reason == refreshes.MANUAL):
        lanes = [int(source) for kind, source, _ in marks if kind == "refresh" and source in MANUAL_SOURCES]
        refreshes.request(
            session, key, args_of(primer, key), lane=min(lanes, default=refreshes.TRIGGERED), reason=reason
        )
        done.requested.append(str(key))
    if "stale" in kinds:
        products.invalidate(session, key, args_of(primer, key))
    elif "refresh" in kinds:
        products.soften(session, [key.digest])


def _family(
    session: Session, key_base: str, args: Any, kind: str, reason: str, paused: set[str], done: Drained
) -> None:
    primer: Primer | None = registry.primers.get(key_base)
    slots = refreshes.lock_family(session, key_base, args)
    if kind == "stale":
        products.invalidate_family(session, key_base, args)
        for digest, text, leased in slots:
            # A first computation under way has no row yet: it must find another epoch than none.
            if leased:
                products.fence_missing(session, digest, text, key_base)
        return
    found = products.soften_family(session, key_base, args)
    if primer is None or key_base in paused:
        return
    for text in found:
        key = registry.key(text)
        refreshes.request(session, key, args_of(primer, key), lane=refreshes.TRIGGERED, reason=reason)
        done.requested.append(str(key))
