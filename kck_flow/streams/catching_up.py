"""What a source remembers is fetched for the topics that lack it: each interval once, for all that want it.

The source is subscribed to first: what is sent from then on arrives by itself. A topic that begins waits until what it
lacks is in the log; those that have read it before do not read it again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, pairwise

from django.db import Error as DatabaseErrors

from .. import clock
from ..conf import conf
from ..message import Message, Source
from ..store import cursors, outbox
from ..store.cursors import Interval, Standing
from ..store.session import Session, caller
from ..topic import Topic
from . import log, topics

logger = logging.getLogger("kck_flow")

# So much is asked for at a time, and asked for again where it was interrupted.
CHUNK = timedelta(hours=6)
BATCH = 500
# Who has not got a batch within so many seconds is taken for dead by others: then both fetch.
LEASE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Want:
    """An interval of history, and the topics that lack it."""

    start: datetime
    end: datetime
    topics: tuple[str, ...]


def wants(lacking: Mapping[str, Sequence[Interval]]) -> list[Want]:
    """Return which intervals are to be fetched, each once, for whom: in order of time.

    Args:
        lacking: For each topic, what it lacks.
    """
    edges = sorted({edge for intervals in lacking.values() for interval in intervals for edge in interval})
    found: list[Want] = []
    for start, end in pairwise(edges):
        who = tuple(
            name
            for name, intervals in lacking.items()
            if any(one <= start and end <= other for one, other in intervals)
        )
        if not who:
            continue
        if found and found[-1].end == start and found[-1].topics == who:
            found[-1] = Want(found[-1].start, end, who)
        else:
            found.append(Want(start, end, who))
    return found


def lacking(
    source: str, known: Sequence[Standing], there: Sequence[Interval], until: datetime
) -> tuple[Interval, ...]:
    """Return what of a source's past a topic lacks.

    Args:
        source: Its name.
        known: The topic's cursors.
        there: What the source has brought to the log for everybody.
        until: When it was subscribed to.
    """
    begun_at = min(one.begun_at for one in known)
    since = max((one.since for one in known if one.since is not None), default=begun_at)
    if since >= until:
        return ()
    seen = [interval for one in known for interval in one.fetched_from(source)]
    live = [(max(start, begun_at), end) for start, end in there if end > begun_at]
    return cursors.without([(since, until)], [*seen, *live])


def catch_up(
    name: str, source: Source, alias: str, until: datetime, stopping: threading.Event, owner: str
) -> int | None:
    """Fetch what the topics of a database lack of a source's past; returns how many messages were new, or None where
    another process is at it: it may die, and is to be looked after.

    Args:
        name: The source's, whose cursor is there.
        until: When it had been subscribed to.
        stopping: Ends it after a chunk; the rest is fetched the next time.
        owner: What tells who fetches from others.

    Raises:
        Exception: it could not be fetched; what has been stays.
    """
    session = caller(alias)
    # All that are declared, whoever handles them: what has been fetched for some is not fetched again for others.
    declared = topics.topics(alias=alias)
    for topic in declared:
        topics.begin(topic, until)
    lease = f"history:{name}"
    try:
        return _catch_up(session, name, source, declared, until, stopping, (lease, owner))
    finally:
        with suppress(DatabaseErrors):  # who is out of reach lets go of it later
            cursors.release(session, lease, owner)


def _catch_up(
    session: Session,
    name: str,
    source: Source,
    declared: Sequence[Topic],
    until: datetime,
    stopping: threading.Event,
    lease: tuple[str, str],
) -> int | None:
    new, told = 0, None
    while source.has_history:
        # Looked at anew each time: others fetch, too, and the log is deleted from.
        pruned = outbox.pruned_before(session)
        wanted = _wanted(session, name, declared, until, pruned)
        if not wanted:
            break
        if stopping.is_set():
            return new
        if not cursors.lease(session, *lease, LEASE_SECONDS):
            return None
        want = wanted[0]
        if told != (want.end, want.topics):
            told = want.end, want.topics
            logger.info(
                "history.wanted source=%s from=%s to=%s topics=%s",
                name, want.start.isoformat(), want.end.isoformat(), ",".join(want.topics),
            )  # fmt: skip
        audience = None if len(want.topics) == len(declared) else want.topics
        end = min(want.start + CHUNK, want.end)
        new += _fetch(session, name, source, want.start, end, want.topics, audience, pruned, lease)
    _let_go(session, name, declared)
    return new


def _wanted(
    session: Session, name: str, declared: Sequence[Topic], until: datetime, pruned: datetime | None
) -> list[Want]:
    """Return what is to be fetched; and note what of it cannot be had any more."""
    standing = cursors.listed(session, topics.source_reader(name))
    there = standing[0].fetched_from() if standing else ()
    # Of a source that has not been known for long, nothing can have been deleted yet.
    kept = clock.now() - timedelta(days=conf.MESSAGE_RETENTION_DAYS)
    forgotten = pruned if standing and standing[0].begun_at < kept else None
    found = {}
    for topic in declared:
        known = cursors.listed(session, topic.name)
        lacks = lacking(name, known, there, until)
        if forgotten is not None and not any(one.position.get("waits") for one in known):
            left = cursors.without(lacks, [(topics.ALWAYS, forgotten)])
            _lose(session, name, topic, cursors.without(lacks, left))
            lacks = left
        found[topic.name] = lacks
    return wants(found)


def _lose(session: Session, name: str, topic: Topic, lost: Sequence[Interval]) -> None:
    """Note what a topic cannot be given: it has read since before the log was deleted from, and nobody knows any more
    what of it it has counted.
    """
    if not lost:
        return
    with session.transaction():
        _note_fetched(session, name, topic.name, lost)
        first = cursors.listed(session, topic.name)[0]
        missing = cursors.joined([*first.missing, *lost])
        cursors.change(session, topic.name, first.part, missing=cursors.told(missing))
    logger.warning(
        "history.gone family=%s source=%s from=%s to=%s: it is not known any more what of it was counted; windows of "
        "then lack data",
        topic.name,
        name,
        lost[0][0].isoformat(),
        lost[-1][1].isoformat(),
    )


def _note_fetched(session: Session, name: str, reader: str, intervals: Sequence[Interval]) -> None:
    outbox.lock_reader(session, reader)
    first = cursors.listed(session, reader)[0]
    fetched = {**first.fetched, name: cursors.joined([*first.fetched.get(name, ()), *intervals])}
    cursors.change(session, reader, first.part, fetched=cursors.told_by_source(fetched))


def brought(session: Session, name: str, start: datetime, end: datetime) -> None:
    """Note that a source has brought an interval to the log, for everybody."""
    with session.transaction():
        outbox.lock_reader(session, topics.source_reader(name))
        standing = cursors.listed(session, topics.source_reader(name))[0]
        cursors.change(
            session,
            standing.reader,
            fetched=cursors.told(cursors.joined([*standing.fetched_from(), (start, end)])),
        )


def _fetch(
    session: Session,
    name: str,
    source: Source,
    start: datetime,
    end: datetime,
    who: Sequence[str],
    audience: Sequence[str] | None,
    pruned: datetime | None,
    lease: tuple[str, str],
) -> int:
    new = messages = 0
    for batch in _batches(source.history(start, end)):
        with session.transaction():
            outbox.hold(session)
            if outbox.pruned_before(session) != pruned:
                return new  # what it was known to be good for has changed: that is looked at first
            new += log.append(session, name, batch, audience)
        messages += len(batch)
        cursors.lease(session, *lease, LEASE_SECONDS)
    with session.transaction():
        # Only once all of it is there.
        if audience is None:
            brought(session, name, start, end)
        for reader in who:
            _note_fetched(session, name, reader, [(start, end)])
    logger.info(
        "history.fetched source=%s from=%s to=%s messages=%d new=%d",
        name, start.isoformat(), end.isoformat(), messages, new,
    )  # fmt: skip
    return new


def _batches(messages: Iterable[Message]) -> Iterator[list[Message]]:
    ahead = iter(messages)
    while batch := list(islice(ahead, BATCH)):
        yield batch


def _let_go(session: Session, name: str, declared: Sequence[Topic]) -> None:
    """Let those begin that have waited for this source."""
    for topic in declared:
        with session.transaction():
            outbox.lock_reader(session, topic.name)
            for one in cursors.listed(session, topic.name):
                waits = [other for other in one.position.get("waits", ()) if other != name]
                if "waits" in one.position and len(waits) < len(one.position["waits"]):
                    position = {key: value for key, value in one.position.items() if key != "waits"}
                    position |= {"waits": waits} if waits else {}
                    cursors.change(session, topic.name, one.part, position=cursors.dumped(position))
