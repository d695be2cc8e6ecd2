"""What a source remembers is fetched for the topics that lack it: each interval once, for all that want it.

The source is subscribed to first: what is sent from then on arrives by itself. A topic that begins waits until what it
lacks is in the log; those that have read it before do not read it again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, pairwise

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


@dataclass(frozen=True, slots=True)
class Want:
    """An interval of history, and the topics that lack it."""

    start: datetime
    end: datetime
    topics: tuple[str, ...]


def wants(lacking: dict[str, Sequence[Interval]]) -> list[Want]:
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
    topic: Topic, known: Sequence[Standing], there: Sequence[Interval], until: datetime
) -> tuple[Interval, ...]:
    """Return what of a source's past a topic lacks.

    Args:
        known: Its cursors.
        there: What the source has brought to the log for everybody.
        until: When it was subscribed to.
    """
    begun_at = min(one.begun_at for one in known)
    since = max((one.since for one in known if one.since is not None), default=begun_at)
    if since >= until:
        return ()
    seen = [interval for one in known for interval in one.fetched]
    live = [(max(start, begun_at), end) for start, end in there if end > begun_at]
    return cursors.without([(since, until)], [*seen, *live])


def catch_up(name: str, source: Source, alias: str, until: datetime, stopping: threading.Event) -> int:
    """Fetch what the topics of a database lack of a source's past; returns how many messages were new.

    Args:
        name: The source's, whose cursor is there.
        until: When it had been subscribed to.
        stopping: Ends it after a chunk; the rest is fetched the next time.

    Raises:
        Exception: it could not be fetched; what has been stays.
    """
    session = caller(alias)
    # All that are declared, whoever handles them: what has been fetched for some is not fetched again for others.
    declared = topics.topics(alias=alias)
    for topic in declared:
        topics.begin(topic, until)
    if not source.has_history:
        _let_go(session, name, declared)
        return 0
    standing = cursors.listed(session, topics.source_reader(name))
    there = standing[0].fetched if standing else ()
    known = {topic.name: cursors.listed(session, topic.name) for topic in declared}
    wanted = wants({topic.name: lacking(topic, known[topic.name], there, until) for topic in declared})
    everybody = {topic.name for topic in declared}
    new = 0
    for want in wanted:
        logger.info(
            "history.wanted source=%s from=%s to=%s topics=%s",
            name, want.start.isoformat(), want.end.isoformat(), ",".join(want.topics),
        )  # fmt: skip
        audience = None if set(want.topics) == everybody else want.topics
        for start, end in _chunks(want.start, want.end):
            if stopping.is_set():
                return new
            new += _fetch(session, name, source, start, end, want.topics, audience)
    _let_go(session, name, declared)
    return new


def brought(session: Session, name: str, start: datetime, end: datetime) -> None:
    """Note that a source has brought an interval to the log, for everybody."""
    with session.transaction():
        outbox.lock_reader(session, topics.source_reader(name))
        standing = cursors.listed(session, topics.source_reader(name))[0]
        cursors.change(
            session, standing.reader, fetched=cursors.told(cursors.joined([*standing.fetched, (start, end)]))
        )


def _chunks(start: datetime, end: datetime) -> Iterator[Interval]:
    while start < end:
        yield start, min(start + CHUNK, end)
        start += CHUNK


def _fetch(
    session: Session,
    name: str,
    source: Source,
    start: datetime,
    end: datetime,
    who: Sequence[str],
    audience: Sequence[str] | None,
) -> int:
    new = messages = 0
    for batch in _batches(source.history(start, end)):
        with session.transaction():
            new += log.append(session, name, batch, audience)
        messages += len(batch)
    with session.transaction():
        # Only once all of it is there.
        if audience is None:
            brought(session, name, start, end)
        for reader in who:
            outbox.lock_reader(session, reader)
            first = cursors.listed(session, reader)[0]
            cursors.change(
                session,
                reader,
                first.part,
                fetched=cursors.told(cursors.joined([*first.fetched, (start, end)])),
            )
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
