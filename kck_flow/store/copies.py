"""Products carried out of the database and back in: values, versions, instants, edges and records, as lines
of JSON.

The lines are made and read by PostgreSQL: a ``numeric`` that Python's floats would round goes through
unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from .session import Session

PAGE = 1000
FIRST = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Restored:
    """One product that was put back, and the version it has now."""

    key: str
    version: int


@dataclass(frozen=True, slots=True)
class Held:
    """What stood under a key before: its state, its value's text and its version."""

    state: str
    value: str | None
    version: int


@dataclass(frozen=True, slots=True)
class Exported:
    """One record as it is given away; ``value`` and ``facet_value`` are JSON texts, or None."""

    key: str
    key_base: str
    start_at: datetime
    end_at: datetime | None
    facet: str
    facet_value: str | None
    value: str | None
    revision: int
    version: int
    primer_version: int
    complete: bool
    written_at: datetime


def exported(
    session: Session,
    key_bases: Sequence[str] | None,
    digests: Sequence[UUID] | None,
    *,
    start: datetime | None,
    end: datetime | None,
    revisions: bool,
) -> Iterator[Exported]:
    """Yield the records that begin in ``[start, end)``, by family and instant, a page in memory at a time.

    Args:
        key_bases, digests: Only of these families, only of these keys; of all where None.
        revisions: Whether corrected ones are told too, and not only what they were corrected to.
    """
    after: tuple[Any, ...] = (None, None, None)
    while True:
        rows = session.rows(
            "export_records",
            {
                "key_bases": key_bases,
                "digests": digests,
                "start": start,
                "end": end,
                "revisions": revisions,
                "limit": PAGE,
                **dict(zip(("after_base", "after_start", "after_id"), after, strict=True)),
            },
        )
        for row in rows:
            yield Exported(*row[:-1])
        if len(rows) < PAGE:
            return
        after = (rows[-1][1], rows[-1][2], rows[-1][-1])


def counts(session: Session, key_bases: Sequence[str] | None) -> tuple[int, int, int]:
    """Return how many products, records and edges there are to carry."""
    row = session.row("dump_counts", {"key_bases": key_bases})
    assert row is not None
    return row[0], row[1], row[2]


def products(session: Session, key_bases: Sequence[str] | None) -> Iterator[str]:
    """Yield a line for each stored product. One with changes on its way is carried as what it is: not to be
    served.
    """
    yield from _paged(session, "dump_products", key_bases, FIRST)


def records(session: Session, key_bases: Sequence[str] | None) -> Iterator[str]:
    """Yield a line for each record, oldest first."""
    yield from _paged(session, "dump_records", key_bases, 0)


def edges(session: Session, key_bases: Sequence[str] | None) -> Iterator[str]:
    """Yield a line for each edge of a carried product: without them it would not be told what changes above
    it.
    """
    yield from _paged(session, "dump_edges", key_bases, FIRST, FIRST)


def _paged(session: Session, name: str, key_bases: Sequence[str] | None, *after: Any) -> Iterator[str]:
    while True:
        places = dict(zip(("after", "after_too"), after, strict=False))
        rows = session.rows(name, {"key_bases": key_bases, "limit": PAGE, **places})
        for line, *_ in rows:
            yield line
        if len(rows) < PAGE:
            return
        after = tuple(rows[-1][1:])


def held(session: Session, digests: Sequence[UUID]) -> dict[UUID, Held]:
    """Lock the products that stand under some keys, in order, and return what they hold."""
    return {
        row[0]: Held(row[1], row[2], row[3]) for row in session.rows("lock_held", {"digests": list(digests)})
    }


def restore_products(
    session: Session,
    digests: Sequence[UUID],
    lines: Sequence[str],
    unsure: Sequence[bool],
    *,
    overwrite: bool,
    stale: bool,
) -> list[Restored]:
    """Put products back where nothing newer stands; returns those that were put back.

    Args:
        unsure: For each, whether it may not be served although it was when it was carried out (augmented
            products: the changes made meanwhile are not in the file).
        overwrite: Over newer ones too.
        stale: Served, but wanted anew.
    """
    rows = session.rows(
        "restore_products",
        {
            "digests": list(digests),
            "lines": list(lines),
            "unsure": list(unsure),
            "overwrite": overwrite,
            "stale": stale,
        },
    )
    return [Restored(row[0], row[1]) for row in rows]


def restore_records(session: Session, digests: Sequence[UUID], lines: Sequence[str]) -> int:
    """Put records back that are not there; returns how many."""
    return len(session.rows("restore_records", {"digests": list(digests), "lines": list(lines)}))


def restore_edges(
    session: Session, upstreams: Sequence[UUID], downstreams: Sequence[UUID], lines: Sequence[str]
) -> int:
    """Put edges back that are not there; returns how many."""
    params = {"upstreams": list(upstreams), "downstreams": list(downstreams), "lines": list(lines)}
    return len(session.rows("restore_edges", params))
