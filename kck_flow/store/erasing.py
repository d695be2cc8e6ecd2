"""A row's name taken out of what is kept about it: events of flows, and messages. What was counted stays counted.

Events that flows share keep a pseudonym in its place, random and the same for all of one row: how long it was in each
stock is still known. Where the subject is a foreign key, it becomes null; so does, in messages, what a topic's
``subjects`` names.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import uuid4

from .. import recorded
from ..recorded import Typed
from . import events, outbox
from .session import Session, loads

BATCH = 5000
ERASED = "erased:"


@dataclass(frozen=True, slots=True)
class Found:
    """How much there is of one row.

    Attributes:
        ready: What may be erased.
        waiting: What has to be dealt with first: events whose functions are to be called, messages that are to be
            handled.
    """

    ready: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Told:
    """Messages that tell of rows of a model.

    Attributes:
        patterns: The topics they are under.
        paths: Where in the body the row's primary key stands, first; and what else there is of it.
    """

    patterns: tuple[str, ...]
    paths: tuple[tuple[str, ...], ...]


# -- events
# ----------------------------------------------------------------------------------------------------------------


def places(session: Session, labels: Collection[str]) -> list[events.Place]:
    """Return the tables in which events of rows of these models may be."""
    found = [events.SHARED]
    mine = {
        model._meta.label
        for model in recorded.event_models()
        if recorded.subject_column(model)
        and model._meta.get_field("subject").related_model._meta.label in labels  # type: ignore[union-attr]
    }
    rows = session.run("SELECT DISTINCT events -> 'typed', events ->> 'subject' FROM kck_generation")
    # Those of a release that is not this one, too.
    mine |= {Typed.from_json(loads(typed)).model for typed, label in rows if typed and label in labels}
    return found + [place for place in events.places(session) if place.model in mine]


def may_be_nobody(session: Session, place: events.Place) -> bool:
    """Whether an event of a table may be of a row that is not named."""
    rows = session.run(
        "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s AND attnotnull",
        [place.relation, place.subject],
    )
    return not place.model or not rows


def count_events(session: Session, place: events.Place, labels: Collection[str], pk: str) -> Found:
    """Return how many events of a row a table has."""
    row = session.row("count_subject", _subject(place, labels, pk), **place.names, **_whose(place))
    assert row is not None
    return Found(*row)


def erase_events(
    session: Session, place: events.Place, labels: Collection[str], pk: str, pseudonym: str
) -> int:
    """Take a row's name out of its events in a table; returns in how many. Those whose functions wait keep it."""
    done, gone = 0, BATCH
    while gone == BATCH:
        params = {**_subject(place, labels, pk), "pseudonym": pseudonym, "limit": BATCH}
        with session.transaction():
            gone = len(session.rows("erase_subject", params, **place.names, **_whose(place)))
        done += gone
    return done


def pseudonym() -> str:
    """Return what stands in an erased row's place: told from every key, and from which nobody finds the way back."""
    return f"{ERASED}{uuid4().hex}"


def _subject(place: events.Place, labels: Collection[str], pk: str) -> dict[str, object]:
    return {"pk": pk, **({} if place.model else {"labels": sorted(labels)})}


def _whose(place: events.Place) -> dict[str, str]:
    # A model's own table knows no type: all its events are of rows of one model.
    return (
        {"whose": "true", "replacement": "NULL"}
        if place.model
        else {"whose": "subject_type = ANY(%(labels)s)", "replacement": "%(pseudonym)s"}
    )


# -- messages
# --------------------------------------------------------------------------------------------------------------


def count_messages(
    session: Session, told: Sequence[Told], pk: str, readers: Sequence[str], days: float
) -> Found:
    """Return how many messages tell of a row: handled by every topic, and not yet (set aside ones among them)."""
    below = outbox.read_by_all(session, readers, days)
    of_it, _, params = _matching(told, pk)
    params["below"] = str(below or 0)
    ((handled, waiting),) = session.run(
        "SELECT count(*) FILTER (WHERE xact < %(below)s::xid8), count(*) FILTER (WHERE NOT xact < %(below)s::xid8) "
        f"FROM kck_outbox o WHERE {of_it}",
        params,
    )
    ((aside,),) = session.run(f"SELECT count(*) FROM kck_held o WHERE {of_it}", params)
    return Found(handled, waiting + aside)


def erase_messages(
    session: Session, told: Sequence[Told], pk: str, readers: Sequence[str], days: float
) -> int:
    """Take a row's name, and what else is said of it, out of the messages that every topic has handled; returns in how
    many. The messages stay, and are known where they come again.
    """
    of_it, emptied, params = _matching(told, pk)
    done, gone = 0, BATCH
    while gone == BATCH:
        with session.transaction():
            # Whoever goes back meanwhile, or begins, is waited for.
            session.run("SELECT pg_advisory_xact_lock(%s, %s)", outbox.LOCK)
            below = outbox.read_by_all(session, readers, days)
            if below is None:
                return done
            gone = len(
                session.run(
                    f"UPDATE kck_outbox o SET body = {emptied}, "
                    "partition_key = CASE WHEN partition_key = %(pk)s THEN '' ELSE partition_key END "
                    f"WHERE id IN (SELECT id FROM kck_outbox o WHERE {of_it} AND xact < %(below)s::xid8 "
                    "ORDER BY id LIMIT %(limit)s FOR UPDATE) RETURNING id",
                    {**params, "below": str(below), "limit": BATCH},
                )
            )
        done += gone
    return done


def _matching(told: Sequence[Told], pk: str) -> tuple[str, str, dict[str, object]]:
    """Return SQL of whether a message tells of a row, SQL of its body without that, and their parameters.

    What several topics say of one message goes at once: once the key is gone, nobody would find the rest.
    """
    conditions, emptied = [], "o.body"
    params: dict[str, object] = {"pk": pk}
    for number, one in enumerate(told):
        names, given = outbox.pattern_sql(one.patterns)
        for name, value in given.items():
            names = names.replace(f"%({name})s", f"%({name}_{number})s")
            params[f"{name}_{number}"] = value
        conditions.append(f"({names} AND o.body #>> %(path_{number}_0)s::text[] = %(pk)s)")
        for place, path in enumerate(one.paths):
            params[f"path_{number}_{place}"] = list(path)
            # An empty path sets nothing.
            where = f"CASE WHEN {conditions[-1]} THEN %(path_{number}_{place})s::text[] ELSE '{{}}' END"
            emptied = f"jsonb_set({emptied}, {where}, 'null', false)"
    return f"({' OR '.join(conditions)})", emptied, params
