"""Transitions kept as events: those whose callables have to be called, the last ones, and those that are old.

Appended by the triggers alone (``changes/triggers.py``): to the table that flows share, or to that of a model of the
project's own. A flow that was declared otherwise before has some in each: what is asked for is asked of all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from .. import key as keys
from .. import recorded
from ..key import Key
from ..recorded import Typed
from ..windows import EPOCH
from . import cursors
from .levels import args_json
from .session import Session, dumps, loads

EVENTS = "events:"
BATCH = 5000
# So many of those that left stocks are looked at for how long they were there: the last.
MOST_LEFT = 10_000


# Why a model of events can take none, where its table is not there.
NO_TABLE = "its table is not there: manage.py migrate"


@dataclass(frozen=True, slots=True)
class Place:
    """A table that events are kept in.

    Attributes:
        model: Label of the model; empty for the table that flows share.
        relation: The table, quoted.
        subject: The column of the subject's key.
    """

    model: str
    relation: str
    subject: str

    @property
    def names(self) -> dict[str, str]:
        """The table and the column, as statements take them."""
        return {
            "table": self.relation.replace("%", "%%"),
            "subject": _quoted(self.subject).replace("%", "%%"),
        }


SHARED = Place("", "kck_event", "subject_id")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def places(session: Session) -> list[Place]:
    """Return the tables of a database in which events may be: the one that flows share, those of the models of this
    process, and those of another release whose flows keep theirs there.
    """
    quote = session.connection.ops.quote_name
    found = {SHARED.relation: SHARED}
    for model in recorded.event_models():
        if column := recorded.subject_column(model):
            relation = quote(model._meta.db_table)
            found[relation] = Place(model._meta.label, relation, column)
    rows = session.run(
        "SELECT DISTINCT events -> 'typed' FROM kck_generation WHERE events -> 'typed' IS NOT NULL ORDER BY 1"
    )
    for (kept,) in rows:
        typed = Typed.from_json(loads(kept))
        found.setdefault(typed.relation, Place(typed.model, typed.relation, typed.subject.column))
    there = session.run(
        "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(name) IS NOT NULL", [list(found)]
    )
    return [place for name, place in found.items() if (name,) in there]


def fitting(session: Session, typed: Typed) -> tuple[str | None, str]:
    """Return the full name of the table of a model of events, or None and why a trigger cannot fill it: with what is
    declared that was found out before, and here whether the table is as declared.
    """
    found = session.run(
        "SELECT c.oid::bigint, quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relkind::text "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)",
        [typed.relation],
    )
    if not found or found[0][2] not in ("r", "p"):
        return None, NO_TABLE
    oid, name, _ = found[0]
    wanted = {column: (kind, column in ("source", "sink")) for column, kind in recorded.COLUMNS.items()}
    wanted |= {one.column: (one.type, one.null) for one in (typed.subject, *typed.filled)}
    columns = session.run(
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull, "
        "atthasdef OR attidentity <> '' OR attgenerated <> '' FROM pg_attribute "
        "WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped",
        [oid],
    )
    there = {column: (kind, not_null) for column, kind, not_null, _ in columns}
    for column, (kind, null) in wanted.items():
        if column not in there:
            return None, f"its table has no column {column}: manage.py makemigrations and migrate"
        if there[column][0] != kind:
            return (
                None,
                f"its column {column} is {there[column][0]}, and {kind} is declared: manage.py migrate",
            )
        if there[column][1] and null:
            return None, f"its column {column} is NOT NULL, and the value may be: manage.py migrate"
    for column, _, not_null, given in columns:
        if not_null and not given and column not in wanted:
            return (
                None,
                f"its column {column} is NOT NULL, and nothing fills it: let it be NULL, or have a default",
            )
    constraints = session.run(
        "SELECT k.conname FROM pg_constraint k WHERE k.conrelid = %s AND k.contype IN ('f', 'u', 'x') AND EXISTS ("
        "SELECT 1 FROM pg_attribute a WHERE a.attrelid = k.conrelid AND a.attnum = ANY(k.conkey) "
        "AND a.attname = ANY(%s)) ORDER BY 1",
        [oid, list(wanted)],
    )
    if constraints:
        return (
            None,
            f"its table has the constraint {constraints[0][0]}, which could refuse an event: manage.py migrate",
        )
    return str(name), ""


def slot_key(name: str, *of: str) -> Key:
    """Return the key of the slot under which a flow's callables are called; with the number of an event, and the model
    that keeps it where that is the project's own, of that event alone.
    """
    return keys.internal(f"{EVENTS}{name}", *of)


def append(
    session: Session,
    key_base: str,
    generation: int,
    *,
    args: str,
    subject: tuple[str, str],
    ends: Sequence[str | None],
    names: Sequence[str],
    facets: str,
    at: str | None,
    due: bool,
) -> bool:
    """Keep one transition that Python has seen, in the table that flows share, in the caller's transaction; of a
    definition that is not in force, nothing. Returns whether it is kept.

    Args:
        args: The key's parameters in their normal form, JSON.
        subject: Label of the row's model, and its primary key.
        ends: Source and sink.
        names, facets: The facets' names, and their values, a JSON array.
        at: Its instant, as PostgreSQL spells it; None for the transaction's.
        due: Whether somebody has to be called for it.
    """
    params = {
        "key_base": key_base,
        "generation": generation,
        "args": args,
        "type": subject[0],
        "id": subject[1],
        "source": ends[0],
        "sink": ends[1],
        "names": list(names),
        "facets": facets,
        "at": at,
        "state": "due" if due else "",
    }
    return bool(session.rows("append_event", params))


def event_slot(name: str, place: Place, number: int) -> Key:
    """Return the key of the slot of one event."""
    return slot_key(name, str(number), *([place.model] if place.model else []))


def event_of(key: Key) -> tuple[int, str] | None:
    """Return which event a slot is for, its number and its model (empty: the shared table); None: all of its flow."""
    number, _, model = str(key).partition("/")[2].partition("/")
    return (int(number), keys.unescape(model)) if number else None


def slot_base(name: str) -> str:
    """Return the key base of these slots."""
    return f"{keys.INTERNAL}{EVENTS}{name}"


def is_events(key: Key) -> bool:
    """Whether a slot is one of these."""
    return key.key_base.startswith(f"{keys.INTERNAL}{EVENTS}")


@dataclass(frozen=True, slots=True)
class Due:
    """An event whose callables have to be called, its row locked.

    Attributes:
        subject: The text of the row's primary key; None where the event has forgotten it with the row (SET_NULL).
        called: Which callables have been called before, when another failed.
    """

    subject: str | None
    source: str | None
    sink: str | None
    called: tuple[str, ...]


def due(session: Session, place: Place, key_base: str, limit: int) -> list[int]:
    """Return the events of a flow whose callables have not been called, by number; not those that failed."""
    params = {"key_base": key_base, "limit": limit}
    return [row[0] for row in session.rows("due_events", params, **place.names)]


def hold(session: Session, place: Place, number: int, *, wait: bool = False) -> Due | None:
    """Lock an event that is due, until the transaction ends; None where it is not (any more), or, unless told to
    ``wait``, where somebody holds it.
    """
    row = session.row("hold_event", {"id": number}, busy="" if wait else "SKIP LOCKED", **place.names)
    return Due(row[0], row[1], row[2], tuple(loads(row[3]) or ())) if row is not None else None


def end(session: Session, place: Place, number: int, *, keep: bool) -> None:
    """Note that an event's callables were called; it is kept, or has done its duty."""
    session.rows("end_event" if keep else "drop_event", {"id": number}, **place.names)


def set_apart(session: Session, place: Place, number: int, called: Sequence[str]) -> None:
    """Leave an event to a slot of its own; ``called``: the callables that are called already."""
    session.rows("set_event_apart", {"id": number, "called": dumps(list(called))}, **place.names)


def drop_slot(session: Session, slot: int, token: int) -> None:
    """Delete the slot of one event, if it is still ours and not wanted again."""
    session.rows("drop_slot", {"slot": slot, "token": token})


@dataclass(frozen=True, slots=True)
class Happened:
    """An event as it is listed. Instants are aware.

    Attributes:
        model: Label of the model that keeps it.
        subject: The text of the row's primary key; None where the event has forgotten it with the row.
    """

    model: str
    id: int
    key_base: str
    args: dict[str, Any]
    subject: str | None
    source: str | None
    sink: str | None
    at: datetime
    xact: int
    facets: dict[str, Any]
    callback_state: str


def last(session: Session, key_base: str, limit: int) -> list[Happened]:
    """Return a flow's last events, wherever they are kept, the newest first."""
    found = [
        Happened(place.model or "kck_flow.Event", number, base, loads(args), subject, source, sink, at, xact,
                 loads(facets), state)
        for place in places(session)
        for number, base, args, subject, source, sink, at, xact, facets, state in session.rows(
            "list_events", {"key_base": key_base, "limit": limit}, **place.names
        )
    ]  # fmt: skip
    return sorted(found, key=lambda one: (one.at, one.id), reverse=True)[:limit]


def bases(session: Session) -> list[str]:
    """Return the key bases that events are kept of."""
    found: set[str] = set()
    for place in places(session):
        found.update(row[0] for row in session.run(f"SELECT DISTINCT key_base FROM {place.relation}"))
    return sorted(found)


def old(
    session: Session, key_base: str, seconds: float, *, waited_for: bool, needed: datetime | None = None
) -> int:
    """Return how many events of a flow are older than so many seconds, and needed no more, wherever they are kept.

    Args:
        waited_for: Whether the flow has callables: then events stay whose callables were not all called.
        needed: From when on somebody needs them; None: nobody does.
    """
    params = {"key_base": key_base, "seconds": seconds, "waited_for": waited_for, "needed": needed}
    return sum(session.rows("count_old_events", params, **place.names)[0][0] for place in places(session))


def prune(
    session: Session,
    key_base: str,
    seconds: float,
    *,
    waited_for: bool,
    needed: datetime | None = None,
    reader: str = "",
) -> Iterator[int]:
    """Delete those; yields how many each batch had. What they counted for stays counted.

    Args:
        reader: Under which it is remembered what is gone; empty: it is not.
    """
    params = {
        "key_base": key_base,
        "seconds": seconds,
        "waited_for": waited_for,
        "limit": BATCH,
        "needed": needed,
    }
    for place in places(session):
        gone = BATCH
        while gone == BATCH:
            with session.transaction():
                rows = session.rows("prune_events", params, **place.names)
                if rows and reader:
                    last = EPOCH + timedelta(microseconds=max(row[0] for row in rows) + 1)
                    cursors.note_deleted(session, reader, last)
            gone = len(rows)
            if gone:
                yield gone


def of_window(
    session: Session, key_base: str, args: Mapping[str, Any], start: datetime, end: datetime
) -> list[dict[str, Any]]:
    """Return the events of one key of a flow over ``[start, end)``, a dict of column to value each, those of one row in
    order.
    """
    params = {"key_base": key_base, "args": args_json(args), "start": start, "end": end}
    return [loads(row[0]) for row in session.rows("window_events", params)]


class Stay(NamedTuple):
    """How long rows were in a stock that they left.

    Attributes:
        stock: Its key base.
        left: How many left, at most ``MOST_LEFT`` of all stocks together, the last.
        known: Of how many it is known when they came.
        seconds: The median of those; None where there is none.
    """

    stock: str
    left: int
    known: int
    seconds: float | None


def stays(
    session: Session,
    place: Place,
    stocks: Sequence[str],
    flows: Sequence[str],
    args: Mapping[str, Any],
    start: datetime,
    end: datetime,
) -> list[Stay]:
    """Return how long rows were in stocks that they left in ``[start, end)``, by the events of some flows: from the
    last that brought each there to the one by which it left.
    """
    typed = place.relation != SHARED.relation
    names = place.names | {"type": "''::text" if typed else "subject_type"}
    of_type = "" if typed else "AND came.subject_type = gone.subject_type "
    rows = session.run(
        "WITH gone AS (SELECT {subject} AS subject, {type} AS subject_type, id, source, at FROM {table} "
        "WHERE key_base = ANY(%(flows)s) AND source = ANY(%(stocks)s) AND at >= %(start)s AND at < %(end)s "
        "AND args @> %(args)s::jsonb ORDER BY at DESC LIMIT %(most)s) "
        "SELECT gone.source, count(*), count(came.at), (percentile_cont(0.5) WITHIN GROUP "
        "(ORDER BY extract(epoch FROM gone.at - came.at)))::float8 FROM gone LEFT JOIN LATERAL ("
        "SELECT came.at FROM {table} AS came WHERE came.{subject} = gone.subject ".format(**names)
        + of_type
        + "AND came.key_base = ANY(%(flows)s) AND came.sink = gone.source AND (came.at, came.id) < (gone.at, gone.id) "
        "ORDER BY came.at DESC, came.id DESC LIMIT 1) AS came ON true GROUP BY gone.source ORDER BY gone.source",
        {
            "flows": list(flows),
            "stocks": list(stocks),
            "args": args_json(args),
            "start": start,
            "end": end,
            "most": MOST_LEFT,
        },
    )
    return [Stay(*row) for row in rows]


def kept_since(session: Session, generation: int) -> datetime | None:
    """Return since when a definition keeps what it counts as events; None where it does not, or is not in force."""
    row = session.row("events_since", {"generation": generation})
    return EPOCH + timedelta(microseconds=row[0]) if row is not None else None
