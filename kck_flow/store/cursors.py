"""How far readers have come: topics in the log, sources, streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from . import private
from .outbox import Place
from .session import Session, dumps, loads

Interval = tuple[datetime, datetime]
_COLUMNS = (
    "position::text, extract(epoch FROM since)::float8, extract(epoch FROM watermark)::float8, fetched::text, "
    "missing::text, extract(epoch FROM begun_at)::float8, extract(epoch FROM moved_at)::float8"
)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A reader's part of the log, and how far it is there.

    Attributes:
        since: What happened before is not read.
        watermark: The instant of the latest message that it has read.
        fetched: What has been brought to the log, by source: of a topic, for it. Under an empty name, of the source
            whose cursor it is; of a topic, of whatever source.
        missing: Intervals of which messages are known to be missing.
        begun_at: When the reader began.
        moved_at: Up to when it has read all that had come.
        open_since: Since when some other transaction has been open that may have sent something, as it was locked.
        first_open: The number of the first transaction that was open then.
        hidden: The number under which this one was locked, where of some that are open it cannot be told since when.
    """

    reader: str
    part: int
    position: Any
    since: datetime | None
    watermark: datetime | None
    fetched: Mapping[str, tuple[Interval, ...]]
    missing: tuple[Interval, ...]
    begun_at: datetime
    moved_at: datetime | None
    open_since: datetime | None = field(default=None, kw_only=True)
    first_open: int = field(default=0, kw_only=True)
    hidden: int | None = field(default=None, kw_only=True)

    @property
    def place(self) -> Place:
        return Place.from_json(self.position)

    def fetched_from(self, source: str = "") -> tuple[Interval, ...]:
        """Return what has been brought to the log of a source."""
        own = self.fetched.get("", ())
        return joined([*own, *self.fetched.get(source, ())]) if source else own


@dataclass(frozen=True, slots=True)
class Standing(Cursor):
    """A cursor, and what it has counted.

    Attributes:
        messages, late, refused: How many it has taken since it began; how many of them came too late for their window
            to be complete; how many were refused as too old.
        error: What it failed of last, where it has not gone on since.
    """

    messages: int
    late: int
    refused: int
    error: str


def _instant(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None else None


def _intervals(found: Any) -> tuple[Interval, ...]:
    return tuple(
        (datetime.fromisoformat(start), datetime.fromisoformat(end)) for start, end in loads(found) or ()
    )


def _by_source(found: Any) -> dict[str, tuple[Interval, ...]]:
    found = loads(found) or {}
    return {
        name: _intervals(listed)
        for name, listed in (found.items() if isinstance(found, dict) else [("", found)])
    }


def told(intervals: Sequence[Interval]) -> str | None:
    """Return intervals as their column holds them."""
    return dumps(_plain(intervals)) if intervals else None


def told_by_source(fetched: Mapping[str, Sequence[Interval]]) -> str | None:
    """Return intervals by source as their column holds them."""
    there = {name: _plain(intervals) for name, intervals in fetched.items() if intervals}
    return dumps(there) if there else None


def _plain(intervals: Sequence[Interval]) -> list[list[str]]:
    return [[start.isoformat(), end.isoformat()] for start, end in intervals]


def dumped(position: Any) -> str | None:
    """Return a position as its column holds it."""
    return dumps(position)


def joined(intervals: Sequence[Interval]) -> tuple[Interval, ...]:
    """Return intervals in order, those that touch made one."""
    found: list[Interval] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        elif start < end:
            found.append((start, end))
    return tuple(found)


def without(intervals: Sequence[Interval], taken: Sequence[Interval]) -> tuple[Interval, ...]:
    """Return what of some intervals is in none of ``taken``."""
    left: list[Interval] = []
    for start, end in joined(intervals):
        for one, other in joined(taken):
            if other <= start or one >= end:
                continue
            if one > start:
                left.append((start, one))
            start = other
        if start < end:
            left.append((start, end))
    return tuple(left)


def _cursor(reader: str, part: int, row: Sequence[Any]) -> Cursor:
    begun = _instant(row[5])
    assert begun is not None
    return Cursor(
        reader, part, loads(row[0]), _instant(row[1]), _instant(row[2]), _by_source(row[3]), _intervals(row[4]), begun,
        _instant(row[6]),
    )  # fmt: skip


def lock(session: Session, reader: str, part: int) -> Cursor | None:
    """Hold a part of a reader until the transaction ends; None where somebody else does, or it has not begun."""
    row = session.row("lock_cursor", {"reader": reader, "part": part})
    if row is None:
        return None
    since, seen, own, hidden = row[7:]
    _, end, running = seen.split(":")
    number = None
    # Inside of a TestCase there is no later transaction that could see those end.
    if hidden and not private.in_test_case():
        hidden, number = session.rows("unseen_writers", {})[0]
    return replace(
        _cursor(reader, part, row),
        open_since=_instant(since),
        first_open=min((int(one) for one in running.split(",") if one and one != own), default=int(end)),
        hidden=int(number) if hidden and number else None,
    )


def begin(session: Session, reader: str, parts: Sequence[int], position: Any, since: datetime | None) -> bool:
    """Let a reader begin, where it has not; returns whether it was this that did."""
    rows = session.rows(
        "begin_cursor",
        {
            "reader": reader,
            "parts": list(parts),
            "position": dumps(position),
            "since": since.timestamp() if since is not None else None,
        },
    )
    return bool(rows)


def move(
    session: Session,
    cursor: Cursor,
    position: Any,
    *,
    messages: int = 0,
    late: int = 0,
    watermark: datetime | None = None,
    moved_at: datetime | None = None,
) -> None:
    """Say how far a reader is now, in the transaction of what it made of what it read."""
    session.rows(
        "move_cursor",
        {
            "reader": cursor.reader,
            "part": cursor.part,
            "position": dumps(position),
            "messages": messages,
            "late": late,
            "watermark": watermark.timestamp() if watermark is not None else None,
            "moved": moved_at.timestamp() if moved_at is not None else None,
        },
    )


def change(session: Session, reader: str, part: int | None = None, **columns: Any) -> None:
    """Set columns of a reader's cursors: ``position``, ``since``, ``fetched``, ``missing``, ``error``, ``moved_at``."""
    kinds = {"position": "::jsonb", "fetched": "::jsonb", "missing": "::jsonb"}
    shown = ", ".join(f"{name} = %({name})s{kinds.get(name, '')}" for name in columns)
    of_part = " AND part = %(part)s" if part is not None else ""
    session.run(
        f"UPDATE kck_cursor SET {shown} WHERE reader = %(reader)s{of_part}",
        {**columns, "reader": reader, "part": part},
    )


def add(session: Session, reader: str, part: int, **columns: int) -> None:
    """Add to what a cursor counts: ``late``, ``refused``."""
    shown = ", ".join(f"{name} = {name} + %({name})s" for name in columns)
    session.run(
        f"UPDATE kck_cursor SET {shown} WHERE reader = %(reader)s AND part = %(part)s",
        {**columns, "reader": reader, "part": part},
    )


def listed(session: Session, reader: str | None = None) -> list[Standing]:
    """Return the cursors of a reader, or of all, in order."""
    where = "WHERE reader = %(reader)s" if reader is not None else ""
    rows = session.run(
        f"SELECT {_COLUMNS}, reader, part, messages, late, refused, error FROM kck_cursor {where} "
        "ORDER BY reader, part",
        {"reader": reader} if reader is not None else None,
    )
    found = []
    for row in rows:
        one = _cursor(row[7], row[8], row[:7])
        found.append(
            Standing(
                one.reader, one.part, one.position, one.since, one.watermark, one.fetched, one.missing, one.begun_at,
                one.moved_at, *row[9:],
            )
        )  # fmt: skip
    return found


def forget(session: Session, reader: str) -> int:
    """Delete a reader's cursors; returns how many there were."""
    return len(
        session.run("DELETE FROM kck_cursor WHERE reader = %(reader)s RETURNING 1", {"reader": reader})
    )


def lease(session: Session, name: str, owner: str, seconds: float) -> bool:
    """Take something, or keep it, for so many seconds; False where another has it."""
    rows = session.run(
        "INSERT INTO kck_cursor AS c (reader, part, position, begun_at, moved_at) VALUES (%(name)s, 0, "
        "to_jsonb(%(owner)s::text), clock_timestamp(), clock_timestamp() + %(seconds)s * interval '1 second') "
        "ON CONFLICT (reader, part) DO UPDATE SET position = EXCLUDED.position, moved_at = EXCLUDED.moved_at "
        "WHERE c.position = EXCLUDED.position OR c.moved_at < clock_timestamp() RETURNING 1",
        {"name": name, "owner": owner, "seconds": seconds},
    )
    return bool(rows)


def release(session: Session, name: str, owner: str) -> None:
    """Let go of it, where it has not been taken by another meanwhile."""
    session.run(
        "DELETE FROM kck_cursor WHERE reader = %(name)s AND position = to_jsonb(%(owner)s::text)",
        {"name": name, "owner": owner},
    )


def note_deleted(session: Session, reader: str, before: datetime) -> None:
    """Remember, in the session's transaction, that what a stream had before an instant is gone."""
    session.rows("note_deleted", {"reader": reader, "before": before})
