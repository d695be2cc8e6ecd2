"""The loop of ``kck consume``: sources bring messages to the log, topics read it, batch by batch, each in its turn.

A topic that is far behind takes one batch a turn like any other: those that are not stay where they are.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from django.db import Error as DatabaseErrors
from django.db import connections

from .. import spread
from ..cache.failures import describe
from ..conf import conf
from ..message import Source
from ..store import cursors, families, held, outbox
from ..store.session import Session, caller
from ..topic import Topic
from . import enriching, remembering, topics
from .intake import Bridge

logger = logging.getLogger("kck_flow")

LONGEST_PAUSE = 60.0
# How long a topic is not asked again while nobody sends anything.
QUIET_SECONDS = 3.0
# Longer than this no batch should take: others wait for their turn, and so does whoever wants its products' rows.
BATCH_SECONDS = 2.0


@dataclass(frozen=True)
class Options:
    """How a consumer works; the options of ``kck consume``.

    Attributes:
        topics: Key bases of the topics that it handles; None for all.
        sources: What it brings messages from, by name.
        enrichers: In how many threads messages are enriched.
        once: Handle what is there, then end.
        alive_file: Touched each time the loop turns.
        grace: Seconds that sources and enrichers may take to end.
    """

    topics: Sequence[str] | None = None
    sources: Sequence[tuple[str, Callable[[], Source]]] = ()
    enrichers: int = 4
    once: bool = False
    alive_file: str | None = None
    grace: float = 25.0


@dataclass(frozen=True, slots=True)
class _News:
    """What a pass asks once for all topics of a database.

    Attributes:
        last: The highest id that a message has been given.
        due: The topics of which a message that was set aside can be handled.
    """

    last: int
    due: set[str]
    paused: set[str]

    @classmethod
    def of(cls, session: Session) -> _News:
        # In this order: what is sent meanwhile is news in the next pass.
        return cls(outbox.last(session), held.due(session), set(families.paused(session)))


class Consumer:
    """One process that brings messages and handles them, until it is told to stop."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.stopping = threading.Event()
        self.messages = self.parked = self.failed = 0
        self._wake = threading.Event()
        # Of topics that failed by themselves: not before when they are tried again, and how often they have.
        self._rests: dict[str, tuple[float, int]] = {}
        self._begun: set[str] = set()
        # What had been sent when a topic had nothing to do, and how long that is believed.
        self._quiet: dict[str, tuple[int, float]] = {}
        # How many messages a batch has, of topics whose handlers are slow.
        self._limits: dict[str, int] = {}
        self._topics = topics.topics(options.topics)
        aliases = sorted({spread.alias_of(one) for one in self._topics}) or [str(conf.DATABASES[0])]
        self._aliases = aliases
        remembering.opened.update(name for name, make in options.sources if make().has_history)
        self._bridges = [
            Bridge(name, make, aliases, self.stopping, self._wake.set) for name, make in options.sources
        ]
        self._enrichers = [
            threading.Thread(target=self._enrich, args=(alias,), name="kck-enrich", daemon=True)
            for alias in aliases
            if enriching.enriching(alias, options.topics)
            for _ in range(options.enrichers)
        ]
        self._enriching = 0

    def stop(self) -> None:
        """End after the batch that is under way."""
        self.stopping.set()
        self._wake.set()

    def lost(self) -> dict[str, str]:
        """Return the sources that could not be read, and of what error."""
        return {one.source_name: one.error for one in self._bridges if one.error}

    def serve(self) -> None:
        """Work until told to stop; with ``once``, until nothing is left."""
        for thread in (*self._bridges, *self._enrichers):
            thread.start()
        down_since: float | None = None
        try:
            while not self.stopping.is_set():
                began = time.monotonic()
                try:
                    more = self._pass()
                    if down_since is not None:
                        logger.warning("db.back after_s=%.1f", time.monotonic() - down_since)
                        down_since = None
                except (DatabaseErrors, OSError) as error:
                    if self.options.once:
                        raise
                    if down_since is None:
                        down_since = time.monotonic()
                        logger.error("db.lost error=%s", str(error).strip())
                    connections.close_all()
                    self.stopping.wait(0.5)
                    continue
                self._touch()
                if more:
                    continue
                if self.options.once and self._at_rest() and not self._pass_over_all():
                    break
                # What was brought meanwhile is handled at once; what the project sent, at the next flush.
                pause = 0.05 if self.options.once else conf.FLUSH_INTERVAL - (time.monotonic() - began)
                self._wake.wait(max(pause, 0.01))
                self._wake.clear()
        finally:
            self.stopping.set()
            deadline = time.monotonic() + self.options.grace
            for thread in (*self._bridges, *self._enrichers):
                thread.join(max(deadline - time.monotonic(), 0.1))
            # What was acknowledged is in the log; what was brought last is handled, too.
            with suppress(DatabaseErrors):
                self._pass_over_all()

    def _pass_over_all(self) -> bool:
        """Give each topic a batch, those that had nothing to do as well: a message has its number a moment before its
        transaction shows, so that a topic may have been told of it and not have found it.
        """
        self._quiet.clear()
        return self._pass()

    def _pass(self) -> bool:
        """Give each part of each topic one batch; returns whether any has more."""
        more = False
        news = {alias: _News.of(caller(alias)) for alias in self._aliases} if self._topics else {}
        for topic in self._topics:
            alias = spread.alias_of(topic)
            rest, _ = self._rests.get(topic.name, (0.0, 0))
            if topic.name in news[alias].paused or time.monotonic() < rest:
                continue
            last, until = self._quiet.get(topic.name, (-1, 0.0))
            if last == news[alias].last and topic.name not in news[alias].due and time.monotonic() < until:
                continue
            try:
                if topic.name not in self._begun:
                    topics.begin(topic)
                    self._begun.add(topic.name)
                turns = [self._turn(topic, part) for part in range(topic.partitions)]
                more = more or any(one is not None and one.more for one in turns)
                if all(one is not None and one.calm for one in turns):
                    self._quiet[topic.name] = news[alias].last, time.monotonic() + QUIET_SECONDS
                else:
                    self._quiet.pop(topic.name, None)
                self._rests.pop(topic.name, None)
            except (DatabaseErrors, OSError) as error:
                if _is_transient(error):
                    more = True
                elif connections[alias].is_usable():
                    self._rest(topic, alias, error)  # what it writes is refused: its own affair
                else:
                    raise
            except Exception as error:  # the others go on, and it is tried again
                self._rest(topic, alias, error)
        return more

    def _turn(self, topic: Topic, part: int) -> topics.Turn | None:
        """Give a part one batch. Of slow handlers, a batch is what they do in a while."""
        limit, began = self._limits.get(topic.name, topic.batch), time.monotonic()
        try:
            done = topics.turn(topic, part, limit)
        except DatabaseErrors:
            # It may have been too long without a word: less of it the next time.
            if time.monotonic() - began > BATCH_SECONDS / 2:
                self._limits[topic.name] = max(limit // 4, 1)
            raise
        if done is None:
            return None
        self.messages += done.messages
        self.parked += done.parked
        took = time.monotonic() - began
        if done.messages and took > BATCH_SECONDS:
            self._limits[topic.name] = max(int(done.messages * BATCH_SECONDS / took), 1)
        elif done.messages >= limit and limit < topic.batch:
            self._limits[topic.name] = min(limit * 2, topic.batch)
        return done

    def _rest(self, topic: Topic, alias: str, error: Exception) -> None:
        self.failed += 1
        _, times = self._rests.get(topic.name, (0.0, 0))
        pause = min(2.0**times, LONGEST_PAUSE)
        self._rests[topic.name] = time.monotonic() + pause, times + 1
        logger.error(
            "topic.failed family=%s again_in_s=%.0f error=%s",
            topic.name,
            pause,
            describe(error),
            exc_info=error,
        )
        with suppress(DatabaseErrors):
            cursors.change(caller(alias), topic.name, error=describe(error))

    def _at_rest(self) -> bool:
        return (
            all(bridge.idle.is_set() for bridge in self._bridges)
            and not self._enriching
            and not any(
                enriching.waits(alias, self.options.topics)
                for alias in {spread.alias_of(t) for t in self._topics}
            )
        )

    def _enrich(self, alias: str) -> None:
        names = enriching.enriching(alias, self.options.topics)
        try:
            while not self.stopping.is_set():
                try:
                    self._enriching += 1
                    found = enriching.enrich_one(names, alias)
                except DatabaseErrors as error:
                    logger.warning("enriching.held_up error=%s", str(error).strip())
                    connections[alias].close()
                    found = False
                finally:
                    self._enriching -= 1
                if found:
                    self._wake.set()
                else:
                    self.stopping.wait(
                        min(conf.FLUSH_INTERVAL, 0.2) if self.options.once else conf.FLUSH_INTERVAL
                    )
        finally:
            connections.close_all()

    def _touch(self) -> None:
        if self.options.alive_file:
            with suppress(OSError):
                Path(self.options.alive_file).touch()


def _is_transient(error: BaseException) -> bool:
    """Whether a transaction met another (a deadlock, a serialization failure, a lock that was not free in time), and
    need only be tried again.
    """
    cause = error.__cause__
    code = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return code in ("40001", "40P01", "55P03")
