"""Sources bring messages to the log, each in a thread of its own: fetched, appended in one transaction, acknowledged.

Whoever dies before the commit is brought them again; whoever dies after it, too, and they find themselves there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

from django.db import DataError, connections
from django.db import Error as DatabaseErrors

from .. import clock
from ..cache.failures import describe
from ..conf import conf
from ..errors import UnstorableValue
from ..message import LONGEST_TOPIC, Message, Source
from ..store import cursors
from ..store.session import Session, caller
from . import catching_up, log
from .topics import source_reader

logger = logging.getLogger("kck_flow")

BATCH = 500
# How often it is noted up to when a source has been read, and how long before that what was sent has surely arrived.
NOTED_SECONDS, OVERLAP = 10.0, timedelta(minutes=5)
# How long is waited after a source was lost, at first and at most.
PAUSE, LONGEST_PAUSE = 0.5, 30.0
# How often it is looked whether another process has fetched what this one would have to.
LOOK_SECONDS = 1.0


# What a message may be that cannot be kept: too deep, a number out of range, an instant without a zone.
UNKEPT = (UnstorableValue, ValueError, DataError)


class Bridge(threading.Thread):
    """One source, and the logs that it feeds.

    Args:
        name: The source's, in ``KCK_FLOW["SOURCES"]``.
        make: Makes it anew, where it was lost.
        aliases: The databases whose topics read it.
        stopping: Set when it is to end.
        brought: Called after each batch.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Source],
        aliases: Sequence[str],
        stopping: threading.Event,
        brought: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(name=f"kck-source-{name}", daemon=True)
        self.source_name, self._make, self._aliases = name, make, list(aliases)
        self._stopping, self._brought = stopping, brought
        # Since when it is subscribed to without a break, and when that was last written down (of one that remembers).
        self._since: datetime | None = None
        self._noted = 0.0
        # When it was subscribed to; the databases whose topics may lack what was before; when that is looked at next.
        self._opened_at, self._behind, self._look_at = clock.now(), self._aliases, 0.0
        self._owner = uuid4().hex
        # Whether the last fetch found nothing.
        self.idle = threading.Event()
        # What it was lost of, while it has not been read since.
        self.error = ""
        self.messages = 0

    def run(self) -> None:
        pause = PAUSE
        try:
            while not self._stopping.is_set():
                source: Source | None = None
                try:
                    source = self._make()
                    for alias in self._aliases:
                        cursors.begin(caller(alias), source_reader(self.source_name), [0], None, None)
                    source.open(self._position())
                    logger.info("source.opened source=%s", self.source_name)
                    self._opened_at, self._behind, self._look_at = clock.now(), list(self._aliases), 0.0
                    self._catch_up(source)
                    pause = PAUSE
                    while not self._stopping.is_set():
                        self.turn(source)
                        self._catch_up(source)
                except Exception as error:  # whatever it raises: the others go on, and it is tried again
                    if not self._stopping.is_set():
                        self.error = describe(error)
                        logger.error(
                            "source.lost source=%s again_in_s=%.1f error=%s",
                            self.source_name,
                            pause,
                            describe(error),
                        )
                        self._say(describe(error))
                    self.idle.set()
                    self._stopping.wait(pause)
                    pause = min(pause * 2, LONGEST_PAUSE)
                finally:
                    if source is not None:
                        try:
                            source.close()
                        except Exception as error:
                            logger.warning(
                                "source.unclosed source=%s error=%s", self.source_name, describe(error)
                            )
        finally:
            connections.close_all()

    def _catch_up(self, source: Source) -> None:
        """Fetch what topics lack of its past: what was sent before it was subscribed to. Where another process does, it
        is looked again, now and then, whether it has.
        """
        if not self._behind or time.monotonic() < self._look_at:
            return
        for alias in list(self._behind):
            new = catching_up.catch_up(
                self.source_name, source, alias, self._opened_at, self._stopping, self._owner
            )
            if new is None:
                continue
            self._behind.remove(alias)
            self.messages += new
            if new:
                self._brought()
        self._look_at = time.monotonic() + LOOK_SECONDS
        self._since = self._opened_at if source.has_history and not self._behind else None

    def turn(self, source: Source) -> int:
        """Bring one batch; returns how many messages it had."""
        asked_at = clock.now()
        batch = source.fetch(BATCH, conf.FLUSH_INTERVAL)
        self.error = ""
        if not batch:
            self._note_until(asked_at)
            if not self._behind:
                self.idle.set()
            return 0
        self.idle.clear()
        try:
            for alias in self._aliases:
                keep(caller(alias), self.source_name, batch, source.position() if source.seekable else None)
        except Exception:
            source.nack(batch)
            raise
        source.ack(batch)
        if len(batch) < BATCH:
            self._note_until(asked_at)
        self.messages += len(batch)
        self._brought()
        return len(batch)

    def _note_until(self, at: datetime) -> None:
        """Note that all that was sent until then is in the log; what was on its way then may be asked for again."""
        if self._since is None or time.monotonic() - self._noted < NOTED_SECONDS:
            return
        self._noted = time.monotonic()
        if at - OVERLAP > self._since:
            for alias in self._aliases:
                catching_up.brought(caller(alias), self.source_name, self._since, at - OVERLAP)

    def _position(self) -> object:
        # Of several databases that which is written last: what the others have already, they know.
        found = cursors.listed(caller(self._aliases[-1]), source_reader(self.source_name))
        return found[0].position if found else None

    def _say(self, error: str) -> None:
        for alias in self._aliases:
            try:
                cursors.change(caller(alias), source_reader(self.source_name), error=error)
            except DatabaseErrors:
                connections[alias].close()  # it is the database that is lost


def keep(session: Session, name: str, batch: Sequence[Message], position: object = None) -> int:
    """Append what a source brought, and how far it is by that, in one transaction; returns how many were new.

    A message that cannot be kept as it is leaves its place to one that says so.
    """
    with session.transaction():
        batch = _known_or_new(session, name, batch)
        try:
            with session.transaction():
                new = log.append(session, name, batch)
        except UNKEPT:
            new = sum(_keep_one(session, name, message) for message in batch)
        cursor = cursors.listed(session, source_reader(name))
        if cursor:
            cursors.move(session, cursor[0], position, messages=new, moved_at=clock.now())
    return new


def _known_or_new(session: Session, name: str, batch: Sequence[Message]) -> Sequence[Message]:
    """Return the messages of which it can be told whether they have been here. Those from before the log was last
    deleted from are refused, and counted.
    """
    pruned = log.known_from(session, batch)
    if pruned is None:
        return batch
    kept = [message for message in batch if not log.is_before(message, pruned)]
    if len(kept) < len(batch):
        cursors.add(session, source_reader(name), 0, refused=len(batch) - len(kept))
        logger.warning(
            "message.too_old source=%s messages=%d before=%s: the log knows no more whether they have been there",
            name,
            len(batch) - len(kept),
            pruned.isoformat(),
        )
    return kept


def _keep_one(session: Session, name: str, message: Message) -> int:
    try:
        with session.transaction():
            return log.append(session, name, [message])
    except UNKEPT as error:
        logger.error("message.unreadable source=%s id=%s error=%s", name, message.id[:100], describe(error))
        told = {"unreadable": describe(error)}
        topic = message.topic if isinstance(message.topic, str) and message.topic else "unreadable"
        topic = topic[:LONGEST_TOPIC]
        return log.append(session, name, [replace(message, topic=topic, at=None, body=None, headers=told)])
