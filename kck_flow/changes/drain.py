"""Marks on their way become refreshes and stale entries: the worker's side of the outbox.

A drain locks a batch, makes of each mark what it says, and deletes exactly that batch, in one transaction.
The slot is touched before the product, always: a publish under way has either seen the mark or finds its slot
or row changed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import Error as DatabaseErrors

from .. import key as keys
from .. import spread, waking
from ..errors import InvalidKey
from ..primer import Primer
from ..registry import registry
from ..store import families, frames, pending, private, products, refreshes
from ..store.session import Session, caller, is_lock_timeout, loads
from ..storing import args_of
from . import telling

logger = logging.getLogger("kck_flow")

BATCH = 500
# A wish says its lane instead of a source.
MANUAL_SOURCES = set("0123456789")


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
        wanted: dict[UUID, tuple[str, Any, list[tuple[str, str, str]]]] = {}
        elsewhere: dict[str, list[pending.Mark]] = {}
        held: set[int] = set()
        for number, key_base, digest, args, kind, source, reason, text, contained in rows:
            if contained:
                continue
            primer = registry.primers.get(key_base)
            home = spread.alias_of(primer)
            if primer is not None and home != own_alias(session):
                mark = _moved(primer, kind, digest, loads(args), source, reason, text)
                elsewhere.setdefault(home, []).append(mark)
                continue
            if kind == spread.TOLD:
                if not _told(session, key_base, loads(args), reason, done):
                    held.add(number)
                continue
            if digest is None and reason == telling.RECOUNTED:
                telling.family(session, key_base, reason)
            if digest is None:
                _family(session, number, key_base, loads(args), kind, reason, paused, done)
                continue
            if text is None and kind == "refresh" and source in MANUAL_SOURCES:
                text = _wished(primer, key_base, digest, loads(args))
            if text is not None:
                wanted.setdefault(digest, (text, key_base, []))[2].append((kind, source, reason))
            # Any other mark of a product without value and slot changes nothing: whoever computes it first sees the
            # cause.
        # A computation that was claimed since the batch was taken: its publish judges these marks, too.
        leased = refreshes.lock_slots(session, list(wanted))
        for digest, (text, key_base, marks) in sorted(wanted.items()):
            if digest not in leased:
                _one(session, text, key_base, marks, paused, done)
        for alias, moved in elsewhere.items():
            _deliver(alias, moved)
        done.marks = pending.delete(
            session, [row[0] for row in rows if row[2] not in leased and row[0] not in held]
        )
    return done


def _told(session: Session, key_base: str, args: Any, reason: str, done: Drained) -> bool:
    """Do what a family of time frames was told, without anything: plan. False where somebody holds one for long."""
    try:
        with session.transaction():
            if args is None:
                frames.wake(session, key_base)
            else:
                done.requested += frames.tell(session, frames.Told.from_json(key_base, args, reason))
    except DatabaseErrors as error:
        if not is_lock_timeout(error):
            raise
        return False
    return True


def _wished(primer: Primer | None, key_base: str, digest: UUID, args: Any) -> str | None:
    """Return the key of what was never computed and is wished for by name; None where its parameters tell another by
    now, or nobody knows it.
    """
    if primer is None:
        return key_base if key_base.startswith(keys.INTERNAL) else None
    try:
        key = keys.build(key_base, primer.parameters, args or {})
    except InvalidKey:
        return None
    return str(key) if key.digest == digest else None


def _moved(
    primer: Primer, kind: str, digest: Any, args: Any, source: str, reason: str, text: str | None
) -> pending.Mark:
    """Return a mark as it goes to the database of its product: the key from its text, or from its parameters."""
    if digest is None:
        return pending.Mark(primer.name, kind, None, args, source=source, reason=reason)
    key = primer.parse_key(text) if text is not None else primer.build_key(**(args or {}))
    return pending.Mark(key.key_base, kind, key, source=source, reason=reason)


def own_alias(session: Session) -> str:
    """Return the alias of the database that a session is on; the cache's own connections have names of their own."""
    return session.alias.removesuffix(private.SUFFIX)


def _deliver(alias: str, marks: list[pending.Mark]) -> None:
    """Bring marks to the database that holds their products: at least once, since two databases commit apart."""
    if private.in_test_case():
        pending.append(caller(alias), marks)
        return
    with private.session(alias) as session, session.transaction():
        pending.append(session, marks)
        waking.soon(session)


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
    known = primer is not None or key_base.startswith(keys.INTERNAL)
    if "refresh" in kinds and known and (key_base not in paused or reason == refreshes.MANUAL):
        lanes = [int(source) for kind, source, _ in marks if kind == "refresh" and source in MANUAL_SOURCES]
        refreshes.request(
            session,
            key,
            args_of(primer, key) if primer is not None else {},
            lane=min(lanes, default=refreshes.TRIGGERED),
            reason=reason,
            gap=primer.min_gap.total_seconds() if primer is not None else 0.0,
        )
        done.requested.append(str(key))
    if "stale" in kinds:
        products.invalidate(session, key, args_of(primer, key))
        _below(session, [(key.digest, text)], reason)
    elif "refresh" in kinds:
        products.soften(session, [key.digest])


def _below(session: Session, stale: Sequence[tuple[UUID, str]], reason: str) -> None:
    """Mark once more what is derived from what is stale: some of it may have been computed, from what was still fresh
    then, while the transaction that changed the source was open.
    """
    if stale and pending.append_unmarked_downstream(session, stale, reason=reason):
        waking.soon(session)


def _family(
    session: Session,
    number: int,
    key_base: str,
    args: Any,
    kind: str,
    reason: str,
    paused: set[str],
    done: Drained,
) -> None:
    """Do to every product of a family what its mark says, but to those computed since: they have seen it."""
    primer: Primer | None = registry.primers.get(key_base)
    slots = refreshes.lock_family(session, key_base, args)
    if kind == "stale":
        stale = products.invalidate_family(session, key_base, args, mark=number)
        for digest, text, leased in slots:
            # A first computation under way has no row yet: it must find another epoch than none.
            if leased:
                products.fence_missing(session, digest, text, key_base)
        _below(session, stale, reason)
        return
    found = products.soften_family(session, key_base, args, mark=number)
    if primer is None or key_base in paused:
        return
    for text in found:
        key = registry.key(text)
        refreshes.request(
            session,
            key,
            args_of(primer, key),
            lane=refreshes.TRIGGERED,
            reason=reason,
            gap=primer.min_gap.total_seconds(),
        )
        done.requested.append(str(key))
