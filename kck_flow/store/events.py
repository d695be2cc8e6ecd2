"""Transitions kept as events: those whose callables have to be called, the last ones, and those that are old.

Appended by the triggers alone (``changes/triggers.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .. import key as keys
from ..key import Key
from .levels import args_json
from .session import Session, dumps, loads

EVENTS = "events:"
BATCH = 5000


def slot_key(name: str, *of: str) -> Key:
    """Return the key of the slot under which a flow's callables are called; with the number of an event, of that event
    alone.
    """
    return keys.internal(f"{EVENTS}{name}", *of)


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
        subject: The text of the row's primary key.
        called: Which callables have been called before, when another failed.
    """

    subject: str
    source: str | None
    sink: str | None
    called: tuple[str, ...]


def due(session: Session, key_base: str, limit: int) -> list[int]:
    """Return the events of a flow whose callables have not been called, by number; not those that failed."""
    params = {"key_base": key_base, "limit": limit}
    return [row[0] for row in session.rows("due_events", params)]


def hold(session: Session, number: int, *, wait: bool = False) -> Due | None:
    """Lock an event that is due, until the transaction ends; None where it is not (any more), or, unless told to
    ``wait``, where somebody holds it.
    """
    row = session.row("hold_event", {"id": number}, busy="" if wait else "SKIP LOCKED")
    return Due(row[0], row[1], row[2], tuple(loads(row[3]) or ())) if row is not None else None


def end(session: Session, number: int, *, keep: bool) -> None:
    """Note that an event's callables were called; it is kept, or has done its duty."""
    session.rows("end_event" if keep else "drop_event", {"id": number})


def set_apart(session: Session, number: int, called: Sequence[str]) -> None:
    """Leave an event to a slot of its own; ``called``: the callables that are called already."""
    session.rows("set_event_apart", {"id": number, "called": dumps(list(called))})


def drop_slot(session: Session, slot: int, token: int) -> None:
    """Delete the slot of one event, if it is still ours and not wanted again."""
    session.rows("drop_slot", {"slot": slot, "token": token})


@dataclass(frozen=True, slots=True)
class Happened:
    """An event as it is listed. Instants are aware."""

    id: int
    key_base: str
    args: dict[str, Any]
    subject: str
    source: str | None
    sink: str | None
    at: datetime
    xact: int
    facets: dict[str, Any]
    callback_state: str


def last(session: Session, key_base: str, limit: int) -> list[Happened]:
    """Return a flow's last events, the newest first."""
    rows = session.rows("list_events", {"key_base": key_base, "limit": limit})
    return [
        Happened(number, base, loads(args), subject, source, sink, at, xact, loads(facets), state)
        for number, base, args, subject, source, sink, at, xact, facets, state in rows
    ]


def bases(session: Session) -> list[str]:
    """Return the key bases that events are kept of."""
    return [row[0] for row in session.run("SELECT DISTINCT key_base FROM kck_event ORDER BY 1")]


def old(session: Session, key_base: str, seconds: float, *, waited_for: bool) -> int:
    """Return how many events of a flow are older than so many seconds, and needed no more.

    Args:
        waited_for: Whether the flow has callables: then events stay whose callables were not all called.
    """
    params = {"key_base": key_base, "seconds": seconds, "waited_for": waited_for}
    row = session.row("count_old_events", params)
    assert row is not None
    return int(row[0])


def prune(session: Session, key_base: str, seconds: float, *, waited_for: bool) -> Iterator[int]:
    """Delete those; yields how many each batch had. What they counted for stays counted."""
    params = {"key_base": key_base, "seconds": seconds, "waited_for": waited_for, "limit": BATCH}
    while True:
        gone = len(session.rows("prune_events", params))
        if gone:
            yield gone
        if gone < BATCH:
            return


def of_window(
    session: Session, key_base: str, args: Mapping[str, Any], start: datetime, end: datetime
) -> list[dict[str, Any]]:
    """Return the events of one key of a flow over ``[start, end)``, a dict of column to value each, those of one row in
    order.
    """
    params = {"key_base": key_base, "args": args_json(args), "start": start, "end": end}
    return [loads(row[0]) for row in session.rows("window_events", params)]
