"""What products held then: one row per change or per period, appended, never edited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from .. import key as keys
from ..key import Key
from .session import Session


def append(
    session: Session, key: Key, *, value: str | None, version: int, primer_version: int, at: float
) -> int:
    """Append the value a product has from ``at`` (POSIX seconds) on; returns the record's id."""
    row = session.row(
        "record",
        {
            "digest": key.digest,
            "key": str(key),
            "key_base": key.key_base,
            "value": value,
            "version": version,
            "primer_version": primer_version,
            "at": at,
        },
    )
    return int(row[0]) if row else 0


def between(session: Session, key: Key, start: datetime, end: datetime) -> list[tuple[datetime, Any]]:
    """Return (instant, value text) of the records in ``[start, end)`` and the one before ``start``, oldest
    first.
    """
    rows = session.rows("records", {"digest": key.digest, "start": start, "end": end})
    return [(datetime.fromtimestamp(row[0], UTC), row[1]) for row in rows]


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def page(
    session: Session, key: Key, start: datetime, end: datetime, *, newest_first: bool, bound: int, limit: int
) -> list[tuple[datetime, str | None]]:
    """Return (instant, value text) of the first records in ``[start, end)``, or of the last, newest first.

    Args:
        bound: The largest id of those that count, as of ``newest_id``.
        limit: How many at most.
    """
    params = {"digest": key.digest, "start": start, "end": end, "bound": bound, "limit": limit}
    rows = session.rows("records_page", params, order="DESC" if newest_first else "ASC")
    return [(EPOCH + timedelta(microseconds=row[0]), row[1]) for row in rows]


def newest_id(session: Session) -> int:
    """Return the largest id of a record, of whichever product."""
    return int(session.run("SELECT coalesce(max(id), 0) FROM kck_record")[0][0])


@dataclass(frozen=True, slots=True)
class Period:
    """A period in which a stock was recorded, and what one key held at its beginning.

    Attributes:
        start, end: Aware instants; ``end`` is None where the record holds until the next.
        generation: The definition that it was counted by, or None.
        known: Whether the key has a record of its own; a counted key that has none held nothing.
        text: Its value, in its codec's text.
    """

    start: datetime
    end: datetime | None
    generation: int | None
    known: bool
    text: str | None


def marker(key_base: str) -> Key:
    """Return the key of the records that say when a family was recorded, whichever of its keys held anything."""
    return keys.internal("records", key_base)


def append_period(
    session: Session,
    key_base: str,
    held: Sequence[tuple[Key, str | None]],
    *,
    start: datetime,
    end: datetime | None,
    primer_version: int,
    generation: int | None,
    at: float,
) -> list[tuple[int, Key]]:
    """Append what some keys of a family, (key, value text) each, held at the beginning of a period, as seen at ``at``
    (POSIX seconds); returns (id, key) of each record that was not there.
    """
    by_digest = {key.digest: key for key, _ in held}
    params = {
        "key_base": key_base,
        "digests": [key.digest for key, _ in held],
        "keys": [str(key) for key, _ in held],
        "values": [text for _, text in held],
        "start": start,
        "end": end,
        "primer_version": primer_version,
        "generation": generation,
        "at": at,
    }
    return [(row[0], by_digest[row[1]]) for row in session.rows("record_period", params)]


def versions(session: Session, key: Key) -> list[datetime]:
    """Return since when records of a product are of each version of its definition, the oldest first."""
    rows = session.run(
        "SELECT extract(epoch FROM min(start_at))::float8 FROM kck_record WHERE digest = %s AND facet = '' "
        "GROUP BY primer_version ORDER BY 1",
        [key.digest],
    )
    return [datetime.fromtimestamp(row[0], UTC) for row in rows]


def periods(session: Session, key: Key, by: Key, start: datetime, end: datetime) -> list[Period]:
    """Return the recorded periods that begin in ``[start, end)`` and the last before, oldest first.

    Args:
        by: Whose records say when the family was recorded: its ``marker``, or the key itself.
    """
    params = {"digest": key.digest, "marker": by.digest, "start": start, "end": end}
    return [
        Period(
            datetime.fromtimestamp(row[0], UTC),
            datetime.fromtimestamp(row[1], UTC) if row[1] is not None else None,
            row[2],
            row[4],
            row[3],
        )
        for row in session.rows("periods", params)
    ]


def periods_many(
    session: Session, asked: Sequence[tuple[Key, Key]], start: datetime, end: datetime
) -> list[list[Period]]:
    """Return ``periods`` of several stocks, (key, by) each, in one statement."""
    params = {
        "digests": [key.digest for key, _ in asked],
        "markers": [by.digest for _, by in asked],
        "start": start,
        "end": end,
    }
    found: list[list[Period]] = [[] for _ in asked]
    for place, began, ended, generation, text, known in session.rows("periods_many", params):
        over = datetime.fromtimestamp(ended, UTC) if ended is not None else None
        found[place - 1].append(Period(datetime.fromtimestamp(began, UTC), over, generation, known, text))
    return found


def last(session: Session, key_base: str) -> datetime | None:
    """Return the instant of the last record of a family; None where there is none."""
    rows = session.run(
        "SELECT extract(epoch FROM max(start_at))::float8 FROM kck_record WHERE key_base = %s", [key_base]
    )
    return datetime.fromtimestamp(rows[0][0], UTC) if rows[0][0] is not None else None


def count(session: Session, keys: Sequence[Key]) -> int:
    """Return how many records some products have."""
    return int(
        session.run("SELECT count(*) FROM kck_record WHERE digest = ANY(%s)", [[key.digest for key in keys]])[
            0
        ][0]
    )
