"""What people look at: products beside their slots, families at a glance. Read only."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from .session import Session, statement

# A page of a long listing: each is one pass over both tables, so few large ones.
PAGE = 10_000
_ALL = "kck_product p FULL JOIN kck_refresh r ON r.digest = p.digest"
_SOME = (
    "unnest(%(digests)s::uuid[]) AS d (digest) LEFT JOIN kck_product p ON p.digest = d.digest "
    "LEFT JOIN kck_refresh r ON r.digest = d.digest"
)


@dataclass(frozen=True, slots=True)
class Listed:
    """A product and its slot at one moment; instants are POSIX seconds.

    Attributes:
        state: ``value``, ``none`` or ``unset``, as stored.
        value: The value's text where it is short, else None; ``bytes`` is its stored size.
        pending: 2 when a change that makes it unservable is on its way, 1 for one that only wants a refresh,
            else 0.
        changes: How many changes wait to be folded in.
        now: The database's clock.
    """

    key: str
    key_base: str
    state: str
    version: int
    primer_version: int
    computed_at: float | None
    soft_expires_at: float | None
    hard_expires_at: float | None
    invalid_at: float | None
    value: str | None
    bytes: int | None
    pending: int
    changes: int
    running: bool
    attempts: int
    retry_at: float | None
    due_at: float | None
    parked_at: float | None
    last_error: str
    wanted: bool
    nominal: float | None
    now: float


def entries(
    session: Session,
    *,
    key_base: str | None = None,
    prefix: str = "",
    hidden: bool = False,
    limit: int | None = None,
) -> Iterator[Listed]:
    """Yield products and slots by key; our own and tombstones that nobody waits for only with ``hidden``."""
    after, left = "", limit
    while left is None or left > 0:
        page = PAGE if left is None else min(left, PAGE)
        rows = session.rows(
            "list_entries",
            {
                "key_base": key_base,
                "prefix": prefix,
                "hidden": hidden,
                "after": after,
                "limit": page,
                "digests": None,
            },
            source=_ALL,
        )
        for row in rows:
            yield Listed(*row)
        if len(rows) < page:
            return
        after = rows[-1][0]
        left = left - page if left is not None else None


def keys(
    session: Session,
    *,
    after: str = "",
    words: Sequence[tuple[str, Sequence[str]]] = (),
    without: Sequence[str] = (),
    limit: int,
) -> list[tuple[str, str]]:
    """Return (key, key base) of what is stored or wanted, a page at a time in the order of code points.

    Args:
        after: The last key of the page before.
        words: (a word in lower case, the families that have it in their labels) each: what has none of it is left out.
        without: Families that are left out.
    """
    params = {
        "after": after,
        "words": json.dumps([[word, list(bases)] for word, bases in words]),
        "without": list(without),
        "limit": limit,
    }
    return [(row[0], row[1]) for row in session.rows("list_keys", params)]


def some(session: Session, digests: Sequence[UUID]) -> dict[str, Listed]:
    """Return those of some products that have a value or a slot, by key: one statement."""
    params = {
        "key_base": None,
        "prefix": "",
        "hidden": True,
        "after": "",
        "limit": len(digests),
        "digests": list(digests),
    }
    rows = [Listed(*row) for row in session.run(statement("list_entries", source=_SOME), params)]
    return {row.key: row for row in rows}


def families(session: Session) -> dict[str, tuple[int, int]]:
    """Return how many products each family has stored, and their bytes: key base to (products, bytes)."""
    return {row[0]: (row[1], row[2]) for row in session.rows("count_families")}


def slots_without_primer(session: Session, known: Sequence[str]) -> list[tuple[str, int]]:
    """Return (key base, slots) of what is due and no primer here can compute."""
    return [(row[0], row[1]) for row in session.rows("orphan_slots", {"known": list(known)})]


def nearest(session: Session, key: str, limit: int = 2000) -> list[str]:
    """Return stored keys of the same base as ``key``, or, where there are none, of any: for a suggestion."""
    base = key.partition("/")[0]
    found = session.rows("nearest_keys", {"key_base": base, "limit": limit})
    return [row[0] for row in found or session.rows("nearest_keys", {"key_base": None, "limit": limit})]


def totals(session: Session) -> dict[str, Any]:
    """Return how many products are stored and how many changes are on their way."""
    row = session.row("count_all")
    assert row is not None
    return {"products": row[0], "marks": row[1], "changes": row[2]}


_NAMED = re.compile(r"%\((\w+)\)s")
# So many products are counted one by one; of more, a sample of about as many tells the states.
COUNTED = 20_000


def state_sql(known: Mapping[str, Any], table: str = "kck_product") -> tuple[str, list[Any]]:
    """Return the SQL of a product's state, and its parameters, for a query over ``kck_product``.

    Args:
        known: ``bases, versions, never``: the families, their primers' versions, and whether each read computes;
            ``limit``: how many changes a read applies.
        table: What the table is called there.
    """
    text = statement("product_state", p=table)
    return _NAMED.sub("%s", text), [known[name] for name in _NAMED.findall(text)]


def estimated(session: Session, table: str) -> int:
    """Return about how many rows a table has, without reading them."""
    row = session.row("estimate_rows", {"table": table})
    return int(row[0] or 0) if row else 0


def states(
    session: Session, known: Mapping[str, Any], rows: int, hidden: Sequence[str] = ()
) -> tuple[dict[str, int], bool]:
    """Return how many products are in each state, and whether that is an estimate from a sample.

    Args:
        known: As of ``state_sql``.
        rows: About how many there are (``estimated``).
        hidden: Families that are left out.
    """
    share = min(COUNTED / rows, 1.0) if rows > COUNTED else 1.0
    sample = f"TABLESAMPLE SYSTEM ({share * 100:.6f})" if share < 1 else ""
    state = statement("product_state", p="p")
    found = session.rows("count_states", {**known, "hidden": list(hidden)}, state=state, sample=sample)
    return {name: round(count / share) for name, count in found}, share < 1


def family_states(
    session: Session, known: Mapping[str, Any], rows: int
) -> list[tuple[str, str, int, float | None]]:
    """Return per family and state: key_base, state, how many products, the age of the oldest in seconds; of many, as a
    sample tells.

    Args:
        known: As of ``state_sql``.
        rows: About how many there are (``estimated``).
    """
    share = min(COUNTED / rows, 1.0) if rows > COUNTED else 1.0
    sample = f"TABLESAMPLE SYSTEM ({share * 100:.6f})" if share < 1 else ""
    state = statement("product_state", p="p")
    found = session.rows("count_family_states", dict(known), state=state, sample=sample)
    return [(base, name, round(count / share), age) for base, name, count, age in found]
