"""What metrics were in each period: records with a beginning and an end, of which the last revision holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from ..key import Key
from .session import Session

_instant = datetime.fromtimestamp


class Measure(NamedTuple):
    """What a metric was in one period.

    Attributes:
        start, end: Aware instants.
        text: The number, in its codec's text; None where there was none.
        complete: Whether it was measured after the period was over, of what can be measured then.
        primer_version: Of the definition that measured it.
        revision: 1 for the first number of the period.
    """

    start: datetime
    end: datetime
    text: str | None
    complete: bool
    primer_version: int
    revision: int


def append(
    session: Session,
    key: Key,
    start: datetime,
    end: datetime,
    text: str | None,
    *,
    version: int,
    primer_version: int,
    complete: bool,
) -> int | None:
    """Append what a metric is in a period, ``[start, end)``; returns the record's id, or None where the last revision
    says the same.
    """
    row = session.row(
        "measure",
        {
            "digest": key.digest,
            "key": str(key),
            "key_base": key.key_base,
            "start": start,
            "end": end,
            "value": text,
            "version": version,
            "primer_version": primer_version,
            "complete": complete,
        },
    )
    return int(row[0]) if row is not None else None


def between(
    session: Session, digests: Sequence[UUID], start: datetime, end: datetime
) -> dict[UUID, list[Measure]]:
    """Return what metrics were in the periods that begin in ``[start, end)``, oldest first; those without any are left
    out.
    """
    recorded = since(session, [(digest, None) for digest in digests], start, end)
    return {digest: measures for digest, (_signature, measures) in recorded.items() if measures}


def since(
    session: Session, known: Sequence[tuple[UUID, str | None]], start: datetime, end: datetime
) -> dict[UUID, tuple[str, list[Measure]]]:
    """Return for each metric a signature of what is recorded of the periods that begin in ``[start, end)``, and, where
    it is not the one that is known, what the metric was in them, as ``between`` tells it; else an empty list.

    Args:
        known: (digest, the signature that is known or None) each.
    """
    asked = [digest for digest, _ in known]
    given = {"digests": asked, "known": [signature for _, signature in known], "start": start, "end": end}
    found: dict[UUID, tuple[str, list[Measure]]] = {}
    instants: dict[float, datetime] = {}  # those of one metric are those of the others
    for place, signature, began, ended, *told in session.rows("measured", given):
        own = found.setdefault(asked[place - 1], (signature, []))[1]
        if began is None:
            continue
        start_at, end_at = instants.get(began), instants.get(ended)
        if start_at is None:
            start_at = instants[began] = _instant(began, UTC)
        if end_at is None:
            end_at = instants[ended] = _instant(ended, UTC)
        own.append(Measure(start_at, end_at, *told))
    return found


def first(session: Session, key: Key) -> datetime | None:
    """Return the beginning of the first recorded period of a metric; None where there is none."""
    rows = session.run(
        "SELECT extract(epoch FROM min(start_at))::float8 FROM kck_record WHERE digest = %s AND facet = ''",
        [key.digest],
    )
    return datetime.fromtimestamp(rows[0][0], UTC) if rows[0][0] is not None else None
