"""Changes on their way to ordinary products.

Appended only in the transaction of the writer who caused them, by signals (part of ``changes``), by
publishing and by the cache's own writes. A mark (``stale``, ``refresh``) is consumed by whoever computes the
product, or drained by a worker; a ``change`` by the fold, or by a computation whose snapshot sees it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from ..conf import conf
from ..key import Key
from . import private
from .session import Session, dumps, loads


@dataclass(frozen=True, slots=True)
class Mark:
    """One row to append: which product (``key`` None: the family, or those with ``args``), what is to happen,
    why.
    """

    key_base: str
    kind: str
    key: Key | None = None
    args: Mapping[str, Any] | None = None
    source: str = ""
    change: str | None = None
    reason: str = ""


def append(session: Session, marks: Sequence[Mark]) -> None:
    """Append rows in this session's transaction: one statement."""
    if not marks:
        return
    session.rows(
        "append_pending",
        {
            "key_bases": [mark.key_base for mark in marks],
            "digests": [mark.key.digest if mark.key is not None else None for mark in marks],
            "args": [dumps(mark.args) for mark in marks],
            "kinds": [mark.kind for mark in marks],
            "sources": [mark.source for mark in marks],
            "changes": [mark.change for mark in marks],
            "reasons": [mark.reason for mark in marks],
        },
    )


def append_downstream(session: Session, digest: UUID, *, source: str, reason: str) -> int:
    """Append the marks of everything whose computation read this product; returns how many."""
    return _below(session, [(digest, source)], reason, unmarked=False)


def append_unmarked_downstream(session: Session, products: Sequence[tuple[UUID, str]], *, reason: str) -> int:
    """Append marks below some products (digest, key) where none waits yet; returns how many."""
    return _below(session, products, reason, unmarked=True)


def _below(session: Session, products: Sequence[tuple[UUID, str]], reason: str, *, unmarked: bool) -> int:
    digests, sources = [digest for digest, _ in products], [source for _, source in products]
    params = {"digests": digests, "sources": sources, "reason": reason, "unmarked": unmarked}
    row = session.row("append_edges_pending", params)
    return all_below(session, products, int(row[0]) if row else 0, reason)


def all_below(session: Session, products: Sequence[tuple[UUID, str]], marked: int, reason: str) -> int:
    """Return how many readers of some products (digest, key) were marked, having marked those, too, that the session
    does not see: a snapshot older than their edges says so by a count below zero (``function_mark_below.sql``).
    """
    if marked >= 0:
        return marked
    marked = -marked - len(products)
    if private.in_test_case():
        return marked  # nobody else is there
    asked = {"digests": [digest for digest, _ in products], "sources": [source for _, source in products]}
    alias = session.alias.removesuffix(private.SUFFIX)
    with private.session(alias, timeout=conf.STATEMENT_TIMEOUT) as outside:
        rows = outside.rows("readers_below", asked)
    if rows:
        bases, digests, kinds, sources = (list(column) for column in zip(*rows, strict=True))
        nothing = [None] * len(rows)
        session.rows(
            "append_pending",
            {
                "key_bases": bases,
                "digests": digests,
                "args": nothing,
                "kinds": kinds,
                "sources": sources,
                "changes": nothing,
                "reasons": [reason] * len(rows),
            },
        )
    return len(rows)


def marks(session: Session, key: Key, args: Mapping[str, Any]) -> set[int]:
    """Return the ids of whatever is on its way to a product: its own, and what concerns its whole family."""
    rows = session.rows("marks", {"key_base": key.key_base, "digest": key.digest, "args": dumps(dict(args))})
    return {row[0] for row in rows}


def changes(session: Session, key: Key, limit: int) -> list[tuple[int, Any, str]]:
    """Return the changes waiting for one product, oldest first: (id, change, source)."""
    return [
        (row[0], loads(row[1]), row[2])
        for row in session.rows(
            "list_changes", {"key_base": key.key_base, "digest": key.digest, "limit": limit}
        )
    ]


def delete(session: Session, ids: Sequence[int]) -> int:
    """Delete exactly these rows; returns how many were still there."""
    return len(session.rows("delete_pending", {"ids": list(ids)})) if ids else 0


def delete_told(session: Session, key: Key, ids: Sequence[str]) -> None:
    """Delete the waiting changes of a product that have these ids, however often each was delivered."""
    session.rows("delete_told", {"key_base": key.key_base, "digest": key.digest, "ids": list(ids)})


def delete_changes(session: Session, key: Key) -> list[str]:
    """Delete every change of a product that this session's snapshot sees; returns the ids of the changes."""
    found = session.rows("delete_changes", {"key_base": key.key_base, "digest": key.digest})
    return [change for _, change in sorted(found)]


def batch(session: Session, limit: int) -> list[tuple[Any, ...]]:
    """Lock and return marks to drain, oldest first: id, key_base, digest, args, kind, source, reason, key
    text, whether the stored value contains what they tell.
    """
    return session.rows("lock_pending", {"limit": limit})


def keys_with_changes(session: Session, limit: int) -> list[tuple[str, UUID, int]]:
    """Return the products that have changes waiting: (key_base, digest, how many), most first."""
    return [(row[0], row[1], row[2]) for row in session.rows("pending_changes", {"limit": limit})]


def count(session: Session) -> int:
    """Return how many rows are on their way."""
    return int(session.run("SELECT count(*) FROM kck_pending")[0][0])


def delete_unknown(session: Session, key_base: str, digest: UUID) -> int:
    """Delete the changes of a product that has neither a value nor a slot; returns how many."""
    return len(session.rows("delete_unknown", {"key_base": key_base, "digest": digest}))
