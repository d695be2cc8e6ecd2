"""Changes folded into products: in memory by reads, and for good by workers (or the pool, where none lives).

A fold is one short transaction: the slot first (skipped while it is leased: a computation's snapshot may not
see what we would delete), then the product's row, then exactly the changes that were applied.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import Error as DatabaseErrors

from .. import hooks, spread
from ..conf import conf
from ..entry import Change, Entry
from ..key import Key
from ..primer import Primer
from ..registry import registry
from ..store import pending, products, refreshes
from ..store.refreshes import instant
from ..store.session import Session, caller
from ..storing import args_of, encode, expiries, public_of

logger = logging.getLogger("kck_flow")

# One fold holds a product's row no longer than a web request would wait for it.
FOLD_CHANGES = 500


def fresh_changes(waiting: Sequence[tuple[int, Any, str]], applied: Sequence[str] = ()) -> list[Change]:
    """Return the changes to apply, oldest first: each id once, those applied already left out."""
    known = set(applied)
    changes = []
    for _, found, source in waiting:
        if found["id"] not in known:
            known.add(found["id"])
            changes.append(spread.from_json(found, source))
    return changes


def apply(primer: Primer, key: Key, text: str | None, changes: Sequence[Change]) -> Any:
    """Return the value after ``changes``. Whatever ``augment`` raises rises."""
    value = primer.codec.decode(text) if text is not None else None
    return primer.augment(key, value, list(changes)) if changes else value


def fold(session: Session, primer: Primer, key: Key) -> int:
    """Fold what waits for one product into it; returns how many changes were consumed.

    A product that has no value drops its changes behind a tombstone: any later computation's snapshot sees
    what caused them. One whose ``augment`` raises is invalidated and computed afresh: the changes are
    lost to it, the error is told.
    """
    if session.is_private and hooks.anything(primer):
        # What hooks write goes through Django's own connection: to commit with it, the fold goes there too.
        session = caller(spread.alias_of(primer))
    with _pass(session):
        if not refreshes.hold_unleased(session, key.digest):
            return 0
        held = products.lock(session, key.digest)
        waiting = pending.changes(session, key, FOLD_CHANGES)
        if not waiting:
            return 0
        ids = [found["id"] for _, found, _ in waiting]
        if held is None or held.state == "unset" or held.invalid or held.primer_version != primer.version:
            # A computation that began before must not publish what lacks these: it finds another epoch.
            products.invalidate(session, key, args_of(primer, key))
            products.remember_applied(session, key.digest, ids)
            pending.delete_told(session, key, ids)
            return len(ids)
        try:
            # What is told of a row may be no value of its field any more, where that is declared otherwise by now.
            changes = fresh_changes(waiting, held.applied)
            with session.transaction():  # what a failing hook would leave behind goes with it
                _store(session, primer, key, held, changes)
                pending.delete_told(session, key, ids)
        except DatabaseErrors:
            raise  # somebody else's lock, or no database: it is folded later
        except Exception as error:
            failed: Exception | None = error
        else:
            failed = None
    if failed is not None:
        logger.error("augment.failed key=%s error=%r; it is computed afresh", key, failed)
        with _pass(session):
            products.invalidate(session, key, args_of(primer, key))
            refreshes.request(
                session,
                key,
                args_of(primer, key),
                lane=refreshes.TRIGGERED,
                reason=f"augment failed: {failed!r}",
            )
            products.remember_applied(session, key.digest, ids)
            pending.delete_told(session, key, ids)
    return len(ids)


@contextmanager
def _pass(session: Session) -> Iterator[None]:
    """A transaction that looks at what is committed now and waits for nobody long, whatever the connection's are."""
    own = not session.is_private and not session.connection.in_atomic_block
    with session.transaction():
        if own:
            session.run(
                "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; "
                f"SET LOCAL lock_timeout = {int(conf.CLAIM_TIMEOUT * 1000)}"
            )
        yield


def _store(
    session: Session, primer: Primer, key: Key, held: products.Locked, changes: Sequence[Change]
) -> None:
    hooks.run(primer, "pre_augment", key, session=session, changes=changes)
    value = apply(primer, key, held.value, changes)
    text, state = encode(key, primer, primer.codec, value)
    hooks.run(primer, "pre_write", key, session=session, value=value)
    soft, hard = expiries(primer, value)
    changed = (
        bool(changes)
        and not session.run(
            "SELECT %s::jsonb IS NOT DISTINCT FROM %s::jsonb AND %s = %s",
            [text, held.value, state, held.state],
        )[0][0]
    )
    applied = [*held.applied, *(change.id for change in changes)][-products.APPLIED :]
    stored = products.fold(
        session,
        key,
        value=text,
        public=public_of(primer.codec, text),
        state=state,
        changed=changed,
        applied=applied,
        soft=soft,
        hard=hard,
    )
    at = instant(stored.computed_at)
    assert at is not None
    old = primer.codec.decode(held.value) if held.value is not None else None
    if changed:
        spread.from_product(
            session, key, version=stored.version, old=old, new=value, at=at, reason=f"{key} augmented"
        )
        if primer.keep_history:
            hooks.record(session, primer, key, text, version=stored.version, at=stored.computed_at)
    if hooks.anything(primer):
        entry = Entry(
            str(key),
            value,
            stored.version,
            at,
            instant(stored.soft_expires_at),
            instant(stored.hard_expires_at),
            "fresh",
            None,
        )
        hooks.run(primer, "post_write", key, session=session, entry=entry, old=old)
        hooks.run(primer, "post_augment", key, session=session, entry=entry, old=old)


def fold_all(session: Session, *, known: Sequence[str], limit: int = 100) -> int:
    """Fold the products with most changes waiting (of primers known here); returns how many changes were
    consumed.
    """
    folded = 0
    for key_base, digest, _ in pending.keys_with_changes(session, limit):
        primer = registry.primers.get(key_base)
        if primer is None or key_base not in known:
            continue
        text = refreshes.key_text(session, digest)
        if text is None:
            # Neither a value nor a slot: nothing was ever computed, and what will be sees the causes.
            folded += pending.delete_unknown(session, key_base, digest)
            continue
        folded += fold(session, primer, registry.key(text))
    return folded
