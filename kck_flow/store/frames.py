"""Time frames: a row for each window of a stream, planned, closed or skipped; what each holds is a record."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db.models import QuerySet, Value
from django.db.models.expressions import DatabaseDefault

from .. import clock
from .. import key as keys
from ..key import Key
from ..models import FrameRecord, Record
from . import refreshes
from .refreshes import Claim
from .session import Session, dumps, plain

# Frames of a series that are read at a time.
PAGE = 1000
PLANNED, CLOSED, SKIPPED = "planned", "closed", "skipped"
BEGINNING = datetime(1, 1, 2, tzinfo=UTC)
END = datetime(9999, 12, 30, tzinfo=UTC)
# What a day may be longer than another, and more.
SLACK = timedelta(days=1)


# The slot that plans a family's frames is named so.
FRAMES = "frames:"


def slot_key(name: str) -> Key:
    """Return the key of the slot that plans a family's frames."""
    return keys.internal(f"{FRAMES}{name}")


def wake(session: Session, name: str) -> None:
    """Have a family's frames planned soon."""
    refreshes.request(session, slot_key(name), {}, lane=refreshes.TRIGGERED, reason="frames", always=False)


@dataclass(frozen=True, slots=True)
class Planned:
    """A frame that there should be."""

    key: Key
    args: Mapping[str, Any]
    series: Key
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """A frame as it stands.

    Attributes:
        record: Id of its current record, where that is a row of ``kck_record``.
        text: Its value in its codec's text.
        at: When it was read.
        told: Whether it was told something that waits to be done.
    """

    digest: UUID
    key: str
    state: str
    reason: str
    want: int
    have: int
    revision: int
    primer_version: int
    items: int | None
    late: int
    complete: bool
    start: datetime
    end: datetime
    closed_at: datetime | None
    cleaned_at: datetime | None
    cleanup_error: str
    record: int | None
    text: str | None
    written_at: datetime | None
    at: datetime
    told: bool


@dataclass(frozen=True, slots=True)
class Begun:
    """A frame in hand: what it was, and the token under which it is written."""

    state: str
    want: int
    have: int
    revision: int
    cleaned: bool
    fence: int


@dataclass(frozen=True, slots=True)
class Held:
    """A closed frame of a series. ``there`` is False where its record was deleted."""

    digest: UUID
    key: str
    start: datetime
    end: datetime
    complete: bool
    revision: int
    value: Any
    there: bool
    items: int | None


def read(session: Session, digests: Sequence[UUID]) -> dict[UUID, Standing]:
    """Return frames as they stand, those that are there."""
    return {row[0]: Standing(*row) for row in session.rows("frame_read", {"digests": list(digests)})}


def is_told(session: Session, key: Key) -> bool:
    """Whether something is on its way to a frame or its family."""
    rows = session.run(
        "SELECT 1 FROM kck_pending WHERE key_base = %s AND (digest = %s OR digest IS NULL) LIMIT 1",
        [key.key_base, key.digest],
    )
    return bool(rows)


def plan(
    session: Session,
    key_base: str,
    wanted: Sequence[Planned],
    *,
    primer_version: int,
    lane: int,
    reason: str,
) -> int:
    """Put frames in that are not there, each with a refresh wanted; returns how many were not there."""
    if not wanted:
        return 0
    params = _many(key_base, wanted, primer_version)
    return len(session.rows("frame_plan", {**params, "lane": lane, "reason": reason}))


def _many(key_base: str, wanted: Sequence[Planned], primer_version: int) -> dict[str, Any]:
    return {
        "key_base": key_base,
        "digests": [one.key.digest for one in wanted],
        "keys": [str(one.key) for one in wanted],
        "args": [dumps(dict(one.args)) for one in wanted],
        "series": [one.series.digest for one in wanted],
        "starts": [one.start for one in wanted],
        "ends": [one.end for one in wanted],
        "primer_version": primer_version,
    }


def skip(
    session: Session,
    key_base: str,
    given_up: Sequence[Planned],
    *,
    primer_version: int,
    reason: str,
    model: type[FrameRecord] | None,
    also_planned: bool = True,
) -> list[str]:
    """Give frames up: what has a value keeps it, the rest is skipped; returns the keys of those that are so now.

    Args:
        model: In which their values are, where not in ``kck_record``.
        also_planned: Whether those that are planned already, too.
    """
    if not given_up:
        return []
    params = _many(key_base, given_up, primer_version)
    more = {"reason": plain(reason), "all": also_planned}
    rows = session.rows("frame_skip", {**params, **more}, held=_held(session, model))
    return [row[0] for row in rows]


def ask(
    session: Session,
    digests: Sequence[UUID],
    *,
    lane: int,
    reason: str,
    again: bool = False,
    late: int = 0,
) -> list[str]:
    """Want some frames once more; returns their keys.

    Args:
        late: How many items came late to each.
        again: Whether they count as planned from now on: their value is not there any more.
    """
    if not digests:
        return []
    params = {"digests": list(digests), "lane": lane, "reason": reason, "again": again, "late": late}
    rows = session.rows("frame_ask", params, which="d.digest = ANY(%(digests)s)", late="%(late)s")
    return [row[0] for row in rows]


def unskip(session: Session, digests: Sequence[UUID], *, lane: int) -> list[str]:
    """Plan frames that were skipped; returns their keys."""
    # Together: a planned frame that nobody wants would wait for ever.
    with session.transaction():
        rows = session.run(
            "UPDATE kck_frame SET state = 'planned', reason = '' WHERE digest = ANY(%s) AND state = 'skipped' "
            "RETURNING digest",
            [list(digests)],
        )
        return ask(session, [row[0] for row in rows], lane=lane, reason="unskipped")


@dataclass(frozen=True, slots=True)
class Told:
    """That something came to ``[start, end)``, or is to be computed again there: which frames that is about.

    Attributes:
        longest: No window is longer.
        sizes, args, states: Only frames of these sizes, with these parameters, in these states.
        late: How many items came late.
        counted: Whether they are only counted; otherwise the frames are wanted once more.
    """

    key_base: str
    start: datetime
    end: datetime
    longest: timedelta
    sizes: Sequence[str]
    args: Mapping[str, Any]
    states: Sequence[str]
    late: int
    lane: int
    reason: str
    counted: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as it travels with somebody's transaction."""
        return {
            "start": self.start.isoformat(), "end": self.end.isoformat(), "longest": self.longest.total_seconds(),
            "sizes": list(self.sizes), "args": dict(self.args), "states": list(self.states), "late": self.late,
            "lane": self.lane, "counted": self.counted,
        }  # fmt: skip

    @classmethod
    def from_json(cls, key_base: str, found: Mapping[str, Any], reason: str) -> Told:
        """Return what has travelled."""
        instants = {name: datetime.fromisoformat(found[name]) for name in ("start", "end")}
        more = {**found, **instants, "longest": timedelta(seconds=found["longest"])}
        return cls(key_base=key_base, reason=reason, **more)

    def params(self) -> dict[str, Any]:
        return {
            "key_base": self.key_base,
            "start": self.start,
            "end": self.end,
            "since": max(self.start, BEGINNING + self.longest + SLACK) - self.longest - SLACK,
            "sizes": list(self.sizes),
            "args": dumps(dict(self.args)),
            "states": list(self.states),
            "late": self.late,
        }


_TOUCHED = (
    "d.key_base = %(key_base)s AND d.state = ANY(%(states)s) AND d.start_at < %(end)s AND d.start_at > %(since)s "
    "AND d.end_at > %(start)s AND coalesce(d.args ->> 'size', '') = ANY(%(sizes)s) AND d.args @> %(args)s::jsonb"
)


def tell(session: Session, told: Told) -> list[str]:
    """Want the frames once more that something is told of, or count what came too late for them; returns their
    keys.
    """
    if told.counted:
        rows = session.run(
            f"UPDATE kck_frame d SET late = d.late + %(late)s WHERE {_TOUCHED} RETURNING d.key", told.params()
        )
    else:
        params = {**told.params(), "lane": told.lane, "reason": told.reason, "again": False}
        rows = session.rows("frame_ask", params, which=_TOUCHED, late="%(late)s")
    return [row[0] for row in rows]


def touched(session: Session, told: Told) -> list[str]:
    """Return the keys of the frames that something is told of, as they are now."""
    rows = session.run(f"SELECT d.key FROM kck_frame d WHERE {_TOUCHED} ORDER BY d.start_at", told.params())
    return [row[0] for row in rows]


def set_late(session: Session, digest: UUID, late: int) -> None:
    """Say how many items came too late for a frame, at least: it may have been told of more."""
    session.run("UPDATE kck_frame SET late = GREATEST(late, %s) WHERE digest = %s", [late, digest])


def ask_coarser(
    session: Session, of: Sequence[Key], start: datetime, end: datetime, *, longest: timedelta, lane: int
) -> list[str]:
    """Want the frames of some series once more in which ``[start, end)`` lies whole; returns their keys. One that is
    being merged just now, for the first time, may have seen what was there before.
    """
    params = {
        "series": [one.digest for one in of], "start": start, "end": end, "since": start - longest - SLACK,
        "lane": lane, "reason": "part", "again": False,
    }  # fmt: skip
    which = (
        "d.series = ANY(%(series)s) AND d.start_at <= %(start)s AND d.start_at > %(since)s AND d.end_at >= %(end)s "
        "AND d.state IN ('planned', 'closed')"
    )
    return [row[0] for row in session.rows("frame_ask", params, which=which, late="0")]


# -- one frame under way


def begin(
    session: Session, claim: Claim, args: Mapping[str, Any], series: Key, start: datetime, end: datetime, version: int
) -> Begun | None:  # fmt: skip
    """Take a claimed frame in hand; None where the lease is not ours any more."""
    # Drawn anew each time: a slot that is gone and comes again begins with the token 1 once more.
    fence = secrets.randbits(62) + 1
    row = session.row(
        "frame_begin",
        {
            "digest": claim.key.digest, "key": str(claim.key), "key_base": claim.key.key_base,
            "args": dumps(dict(args)), "series": series.digest, "start": start, "end": end,
            "primer_version": version, "fence": fence, "slot": claim.slot, "token": claim.token,
        },
    )  # fmt: skip
    return Begun(row[0], row[1], row[2], row[3], row[4], fence) if row is not None else None


def hold(session: Session, key: Key, fence: int) -> bool:
    """Lock a frame in hand, so that nobody asks for it meanwhile; False where it is in other hands."""
    rows = session.run(
        "SELECT 1 FROM kck_frame WHERE digest = %s AND token = %s FOR UPDATE", [key.digest, fence]
    )
    return bool(rows)


def append(
    session: Session,
    key: Key,
    *,
    start: datetime,
    end: datetime,
    text: str | None,
    primer_version: int,
    complete: bool,
) -> tuple[int, int, bool]:
    """Append what a frame holds; returns (record, revision, whether that is news)."""
    row = session.row(
        "frame_record",
        {
            "digest": key.digest, "key": str(key), "key_base": key.key_base, "start": start, "end": end, "value": text,
            "primer_version": primer_version, "complete": complete,
        },
    )  # fmt: skip
    assert row is not None
    return row[0], row[1], row[2]


def append_typed(
    session: Session,
    key: Key,
    row: FrameRecord,
    *,
    start: datetime,
    end: datetime,
    primer_version: int,
    complete: bool,
) -> tuple[FrameRecord, int, bool]:
    """Append a row of a model of frames, unless it says what the last one says; returns (row, revision, whether it is
    news).
    """
    rows = _rows(type(row), session)
    last = rows.filter(digest=key.digest).order_by("-revision").first()
    if last is not None and last.current and last.complete == complete and _says_the_same(row, last):
        return last, last.revision, False
    rows.filter(digest=key.digest, current=True).update(current=False)
    row.digest, row.key, row.start_at, row.end_at = key.digest, str(key), start, end
    row.revision = last.revision + 1 if last is not None else 1
    row.current, row.complete, row.primer_version = True, complete, primer_version
    row.written_at = clock.now()
    row.save(using=session.alias, force_insert=True)
    return row, row.revision, True


def tried(session: Session, key: Key, row: FrameRecord, *, start: datetime, end: datetime) -> dict[str, Any]:
    """Return what a row would hold in its own columns, in a transaction that is to be rolled back."""
    row.digest, row.key, row.start_at, row.end_at = uuid4(), str(key), start, end  # in nobody's way
    row.revision, row.current, row.complete, row.primer_version = 1, True, True, 1
    row.written_at = clock.now()
    row.save(using=session.alias, force_insert=True)
    return own_columns(_rows(type(row), session).get(pk=row.pk))


def _rows(model: type[FrameRecord], session: Session) -> QuerySet[Any]:
    """Return all rows of a model of frames, whatever its managers leave out."""
    return QuerySet(model, using=session.alias)


_SHARED = frozenset(field.attname for field in FrameRecord._meta.fields)


def own_fields(model: type[FrameRecord]) -> list[Any]:
    """Return the fields of a model of frames that are the project's own."""
    return [
        field
        for field in model._meta.concrete_fields
        if field.attname not in _SHARED and not field.primary_key
    ]


def own_columns(row: FrameRecord) -> dict[str, Any]:
    """Return what a row of a model of frames holds in its own columns."""
    return {field.attname: getattr(row, field.attname) for field in own_fields(type(row))}


def _says_the_same(row: FrameRecord, last: FrameRecord) -> bool:
    """Whether a row that is not saved says what a saved one says. What is filled in when it is written (generated, the
    time, a default that the database works out) is no part of that.
    """
    for field in own_fields(type(row)):
        if field.generated or getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False):
            continue
        value = getattr(row, field.attname)
        if isinstance(value, DatabaseDefault):
            expression: Any = value.get_source_expressions()[0]
            if not isinstance(expression, Value):
                continue
            value = expression.value
        if _read_back(field, value) != getattr(last, field.attname):
            return False
    return True


def _read_back(field: Any, value: Any) -> Any:
    """Return a value as the table would give it back."""
    if value is None:
        return None
    value = field.to_python(value)
    kind = field.get_internal_type()
    if kind == "DecimalField" and field.decimal_places is not None:
        return round(value, field.decimal_places)
    if kind == "JSONField":
        return json.loads(json.dumps(value, cls=field.encoder), cls=field.decoder)
    return value


def close(
    session: Session,
    key: Key,
    begun: Begun,
    *,
    revision: int,
    changed: bool,
    items: int | None,
    complete: bool,
    primer_version: int,
    compute_ms: float,
    clean: bool,
) -> int | None:
    """Close a frame in hand; returns how often it has been asked for by now, or None: it is in other hands."""
    row = session.row(
        "frame_close",
        {
            "digest": key.digest, "fence": begun.fence, "want": begun.want, "revision": revision, "changed": changed,
            "items": items, "complete": complete, "primer_version": primer_version, "compute_ms": compute_ms,
            "clean": clean,
        },
    )  # fmt: skip
    return row[0] if row is not None else None


def leave(
    session: Session, key: Key, begun: Begun, reason: str, model: type[FrameRecord] | None
) -> str | None:
    """Let a frame be whose source was deleted; returns what it is now, or None: it is in other hands."""
    params = {"digest": key.digest, "fence": begun.fence, "want": begun.want, "reason": plain(reason)}
    row = session.row("frame_leave", params, held=_held(session, model))
    return row[0] if row is not None else None


def cleaned(session: Session, key: Key, *, cleanup_ms: float, error: str) -> None:
    """Say what came of a frame's cleanup."""
    params = {"digest": key.digest, "cleanup_ms": cleanup_ms, "error": plain(error[:2000])}
    session.rows("frame_cleaned", params)


def drop_slot(session: Session, claim: Claim) -> bool:
    """Take the slot of a frame away that is done; False where it was asked for once more, or the lease was lost."""
    return bool(session.rows("frame_drop_slot", {"slot": claim.slot, "token": claim.token}))


def want(session: Session, key: Key) -> None:
    """Want a frame once more that is in hand: somebody wished for it in the queue, and not here."""
    session.run("UPDATE kck_frame SET want = GREATEST(want, have) + 1 WHERE digest = %s", [key.digest])


def record_of(session: Session, key: Key) -> Record | None:
    """Return the current record of a frame."""
    rows = Record.objects.using(session.alias).filter(digest=key.digest, facet="")
    return rows.order_by("start_at", "-revision").first()


def typed_of(session: Session, model: type[FrameRecord], digests: Sequence[UUID]) -> dict[UUID, FrameRecord]:
    """Return the current rows of some frames, by digest."""
    rows = _rows(model, session).filter(digest__in=list(digests), current=True)
    return {row.digest: row for row in rows}


# -- series


def series(
    session: Session,
    of: Key,
    start: datetime,
    end: datetime,
    decode: Any,
    model: type[FrameRecord] | None = None,
) -> Iterator[Held]:
    """Yield the closed frames of one product and size that lie in ``[start, end)``, oldest first, page by page."""
    while True:
        params = {"series": of.digest, "start": start, "end": end, "limit": PAGE}
        rows = session.rows("frame_series", params)
        typed = typed_of(session, model, [row[0] for row in rows]) if model is not None else {}
        for digest, key, begins, ends, complete, revision, record, text, items in rows:
            there = digest in typed if model is not None else record is not None
            if model is not None:
                value = own_columns(typed[digest]) if there else None
            else:
                value = decode(text) if text is not None else None
            yield Held(digest, key, begins, ends, complete, revision, value, there, items)
        if len(rows) < PAGE:
            return
        start = rows[-1][2] + (rows[-1][3] - rows[-1][2]).resolution


def _held(session: Session, model: type[FrameRecord] | None) -> str:
    """Return SQL: whether the current record of the frame ``f`` is there. Somebody may have deleted it."""
    if model is None:
        return (
            "EXISTS (SELECT 1 FROM kck_record r WHERE r.digest = f.digest AND r.facet = '' "
            "AND r.start_at = f.start_at AND r.revision = f.revision)"
        )
    table = session.connection.ops.quote_name(model._meta.db_table).replace("%", "%%")
    return f"EXISTS (SELECT 1 FROM {table} r WHERE r.digest = f.digest AND r.current)"


def is_held(session: Session, key: Key, model: type[FrameRecord] | None) -> bool:
    """Whether a frame has a value."""
    rows = session.run(
        f"SELECT 1 FROM kck_frame f WHERE digest = %s AND {_held(session, model)}", [key.digest]
    )
    return bool(rows)


@dataclass(frozen=True, slots=True)
class Summed:
    """The finer frames of a window, together.

    Attributes:
        count, items, complete: Of those that have a value: how many, of how many items, and whether all are complete.
        decided: How many are closed or skipped.
        lost: How many of these had a value, and have none any more.
    """

    count: int
    items: int
    complete: bool
    decided: int
    lost: int


def summed(
    session: Session, of: Key, start: datetime, end: datetime, model: type[FrameRecord] | None
) -> Summed:
    """Return the frames of one product and size in ``[start, end)``, together."""
    rows = session.run(
        "SELECT count(*) FILTER (WHERE held), coalesce(sum(items) FILTER (WHERE held), 0)::bigint, "
        "coalesce(bool_and(complete) FILTER (WHERE held), true), count(*), "
        "count(*) FILTER (WHERE NOT held AND revision > 0) FROM ("
        f"SELECT f.items, f.complete, f.revision, f.state = 'closed' AND {_held(session, model)} AS held "
        "FROM kck_frame f WHERE series = %s AND start_at >= %s AND end_at <= %s AND state <> 'planned') AS n",
        [of.digest, start, end],
    )
    return Summed(*rows[0])


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed frame, and how many items it was made of."""

    digest: UUID
    start: datetime
    end: datetime
    items: int
    late: int


def closed(session: Session, of: Key, start: datetime, end: datetime) -> list[Closed]:
    """Return the closed frames of one product and size that nothing is asked of, in ``[start, end)``, oldest first."""
    rows = session.run(
        "SELECT digest, start_at, end_at, coalesce(items, 0), late FROM kck_frame WHERE series = %s "
        "AND start_at >= %s AND end_at <= %s AND state = 'closed' AND want = have ORDER BY start_at",
        [of.digest, start, end],
    )
    return [Closed(*row) for row in rows]


# -- planning


def there(session: Session, of: Key, first: datetime, last: datetime) -> int:
    """Return how many frames of one product and size begin in ``[first, last)``."""
    rows = session.run(
        "SELECT count(*) FROM kck_frame WHERE series = %s AND start_at >= %s AND start_at < %s",
        [of.digest, first, last],
    )
    return int(rows[0][0])


def starts(session: Session, of: Key, first: datetime, last: datetime) -> set[datetime]:
    """Return where the frames of one product and size begin, in ``[first, last)``."""
    rows = session.run(
        "SELECT start_at FROM kck_frame WHERE series = %s AND start_at >= %s AND start_at < %s",
        [of.digest, first, last],
    )
    return {row[0] for row in rows}


def holes(
    session: Session, of: Key, first: datetime, last: datetime, step: float, limit: int
) -> list[datetime]:
    """Return where windows of one length have no frame: of those that begin each ``step`` seconds from ``first`` to
    ``last``, the first ``limit``.
    """
    params = {"series": of.digest, "first": first, "last": last, "step": step, "limit": limit}
    return [row[0] for row in session.rows("frame_holes", params)]


def decided(session: Session, of: Key, windows: Sequence[tuple[datetime, datetime]]) -> dict[datetime, int]:
    """Return by window how many of its finer frames are closed or skipped."""
    params = {
        "series": of.digest,
        "starts": [start for start, _ in windows],
        "ends": [end for _, end in windows],
    }
    return {row[0]: row[1] for row in session.rows("frame_decided", params)}


def decided_starts(session: Session, of: Key, first: datetime, last: datetime) -> set[datetime]:
    """Return where the frames of one product and size begin that are closed or skipped, in ``[first, last)``."""
    rows = session.run(
        "SELECT start_at FROM kck_frame WHERE series = %s AND start_at >= %s AND start_at < %s AND state <> 'planned'",
        [of.digest, first, last],
    )
    return {row[0] for row in rows}


def decided_between(session: Session, of: Key, first: datetime, last: datetime) -> int:
    """Return how many frames of one product and size begin in ``[first, last]`` and are closed or skipped."""
    rows = session.run(
        "SELECT count(*) FROM kck_frame WHERE series = %s AND start_at >= %s AND start_at <= %s AND state <> 'planned'",
        [of.digest, first, last],
    )
    return int(rows[0][0])


def undecided(session: Session, of: Key, first: datetime, last: datetime, step: float) -> datetime | None:
    """Return the first window that is neither closed nor skipped, of those of one length that begin in
    ``[first, last]``; None where all are.
    """
    params = {"series": of.digest, "first": first, "last": last, "step": step}
    row = session.row("frame_undecided", params)
    return row[0] if row is not None else None


def waiting(session: Session, key_base: str) -> int:
    """Return how many planned frames of a family are in the queue, and not set aside."""
    rows = session.run(
        "SELECT count(*) FROM kck_frame f JOIN kck_refresh r ON r.digest = f.digest "
        "WHERE f.key_base = %s AND f.state = 'planned' AND r.parked_at IS NULL",
        [key_base],
    )
    return int(rows[0][0])


_QUEUED = (
    "EXISTS (SELECT 1 FROM kck_refresh r WHERE r.digest = f.digest "
    "AND (r.due_at IS NOT NULL OR r.lease_until IS NOT NULL OR r.parked_at IS NOT NULL))"
)


def forgotten(session: Session, key_base: str, limit: int, *, closed_too: bool) -> list[UUID]:
    """Return frames that are wanted, and that no slot stands for (somebody has emptied the queue)."""
    states = [PLANNED, CLOSED] if closed_too else [PLANNED]
    rows = session.run(
        f"SELECT digest FROM kck_frame f WHERE key_base = %s AND state = ANY(%s) AND want > have AND NOT {_QUEUED} "
        "ORDER BY start_at LIMIT %s",
        [key_base, states, limit],
    )
    return [row[0] for row in rows]


def valueless(
    session: Session, key_base: str, since: datetime, limit: int, model: type[FrameRecord] | None = None
) -> list[UUID]:
    """Return closed frames that begin at ``since`` or later and whose current record somebody has deleted."""
    rows = session.run(
        f"SELECT digest FROM kck_frame f WHERE key_base = %s AND state = 'closed' AND start_at >= %s "
        f"AND NOT {_held(session, model)} ORDER BY start_at LIMIT %s",
        [key_base, since, limit],
    )
    return [row[0] for row in rows]


def planner(session: Session, slot: Key, lane: int) -> bool:
    """See that a family's planner has its slot; returns whether it is due by that."""
    params = {"digest": slot.digest, "key": str(slot), "key_base": slot.key_base, "lane": lane}
    return bool(session.rows("frame_planner", params))


def oldest_open(session: Session, of: Key) -> datetime | None:
    """Return where the oldest frame of one product and size begins that is wanted and neither closed nor skipped, or
    is to be computed again; None where there is none.
    """
    rows = session.run(
        "SELECT min(start_at) FROM kck_frame WHERE series = %s AND state <> 'skipped' AND want > have",
        [of.digest],
    )
    found: datetime | None = rows[0][0]
    return found


# -- for people


def listed(
    session: Session,
    key_base: str,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    args: Mapping[str, Any] | None = None,
    state: str = "",
    limit: int | None = None,
) -> list[tuple[Any, ...]]:
    """Return the frames of a family for the listings, the newest first."""
    params = {
        "key_base": key_base, "start": start or BEGINNING, "end": end or END, "args": dumps(dict(args or {})),
        "state": state, "limit": limit,
    }  # fmt: skip
    return session.rows("frame_list", params)


def stats(
    session: Session, key_base: str, start: datetime | None, end: datetime | None
) -> list[tuple[Any, ...]]:
    """Return per size of a family: frames, items, mean and longest compute, mean cleanup (ms), late, revised,
    incomplete, first start, last end.
    """
    params = {"key_base": key_base, "start": start or BEGINNING, "end": end or END}
    return session.rows("frame_stats", params)


def states(session: Session) -> list[tuple[Any, ...]]:
    """Return (key_base, planned, parked, closed, skipped, last closed window's end) of each family."""
    return session.run(
        "SELECT f.key_base, count(*) FILTER (WHERE f.state = 'planned'), "
        "count(*) FILTER (WHERE f.state = 'planned' AND r.parked_at IS NOT NULL), "
        "count(*) FILTER (WHERE f.state = 'closed'), count(*) FILTER (WHERE f.state = 'skipped'), "
        "max(f.end_at) FILTER (WHERE f.state = 'closed') "
        "FROM kck_frame f LEFT JOIN kck_refresh r ON r.digest = f.digest AND f.state = 'planned' "
        "GROUP BY 1 ORDER BY 1"
    )


# -- what is kept no longer
# ------------------------------------------------------------------------------------------------

PRUNED = 500
_OLD = (
    "FROM kck_frame f WHERE f.key_base = %(key_base)s AND coalesce(f.args ->> 'size', '') = %(size)s "
    "AND f.state <> 'planned' AND f.end_at <= %(before)s AND (f.state = 'skipped' OR f.want <= f.have) "
    "AND NOT EXISTS (SELECT 1 FROM kck_refresh r WHERE r.digest = f.digest)"
)


def old(session: Session, key_base: str, size: str, before: datetime) -> int:
    """Return how many frames of a size ended by an instant, and nothing is wanted of them any more."""
    params = {"key_base": key_base, "size": size, "before": before}
    return int(session.run(f"SELECT count(*) {_OLD}", params)[0][0])


def prune(
    session: Session, key_base: str, size: str, before: datetime, model: type[FrameRecord] | None
) -> Iterator[int]:
    """Delete those, with their records; yields how many each batch had."""
    while True:
        with session.transaction():
            rows = session.run(
                f"DELETE FROM kck_frame WHERE digest IN (SELECT f.digest {_OLD} ORDER BY f.start_at LIMIT %(limit)s "
                "FOR UPDATE SKIP LOCKED) RETURNING digest",
                {"key_base": key_base, "size": size, "before": before, "limit": PRUNED},
            )
            digests = [row[0] for row in rows]
            if digests:
                session.run("DELETE FROM kck_record WHERE digest = ANY(%s::uuid[])", [digests])
                if model is not None:
                    _rows(model, session).filter(digest__in=digests).delete()
        if digests:
            yield len(digests)
        if len(digests) < PRUNED:
            return
