"""NATS JetStream: the messages of a stream, read by a durable pull consumer, through nats-py. Server 2.9 or newer.

nats-py is asyncio. Its loop runs in a thread of its own, so that the server hears from us while a batch is stored.
"""

from __future__ import annotations

import asyncio
import json
import queue
import re
import threading
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import uuid4

from ..message import Message, Source
from . import library
from .reading import Coming, Reading

# Seconds for the server to take a connection, and to answer.
PATIENCE = 10.0
# Seconds to give back what we hold, at the end.
FAREWELL = 2.0
# Seconds to wait for more once something has come.
LINGER = 0.005
# Seconds for which the server keeps a request for messages, at least.
REQUEST = 2.0
PAGE = 500
# Seconds before the next request where the consumer has as much under way as it may.
BUSY = 0.1
# Seconds until what is given back comes again, at least: of what is given back without any delay, the server (2.9)
# sends the first to a request whose asker is gone, and again only after ack_wait.
SOON = 0.05

_ID = "Nats-Msg-Id"
_LOST = None


class NATS(Source):
    """A stream, or some subjects of it, of which each process with the same consumer reads some.

    What is not acknowledged comes again after ``ack_wait``. The message's id is its header ``Nats-Msg-Id``, or else its
    place in the stream; its instant is when the stream took it; its topic the subject.

    Args:
        url: ``nats://user:password@host:4222``, or a list of several servers of one cluster.
        stream: Its name; it must be there.
        consumer: The durable consumer; one that is not there is made, with the next four. One that is there stays as it
            is.
        subject: Which subjects of the stream, with the server's wildcards; all where not given.
        start: Where a new consumer begins: ``"all"`` with the first message there is, ``"new"`` with the next.
        ack_wait: After how long a message that is not acknowledged comes again. A batch that takes longer to store is
            harmless.
        max_ack_pending: How many messages of the consumer may be under way at once, for all its processes together.
        connection: Further arguments of ``nats.connect``, such as ``{"user_credentials": "/etc/shop.creds"}``.
        id, at, key, topics, only_topics: See ``Reading``.
    """

    # Several processes may read one consumer, and what comes again comes later than what followed it.
    ordered: ClassVar[bool] = False

    def __init__(
        self,
        url: str | Sequence[str],
        stream: str,
        *,
        consumer: str = "kck_flow",
        subject: str = "",
        start: str = "all",
        ack_wait: timedelta = timedelta(minutes=1),
        max_ack_pending: int = 20_000,
        connection: Mapping[str, Any] | None = None,
        id: str = "",
        at: str = "",
        key: str = "",
        topics: Mapping[str, str] | None = None,
        only_topics: Sequence[str] = (),
    ) -> None:
        self._nats = library("nats", "nats")
        self._api = library("nats.js.api", "nats")
        if start not in ("all", "new"):
            raise ValueError(f"start must be 'all' or 'new', not {start!r}.")
        for option, given in (("stream", stream), ("consumer", consumer)):
            if not given or re.search(r"[\s.*>]", given):
                raise ValueError(f"{option} is a name without dots, blanks and wildcards, not {given!r}.")
        if not isinstance(ack_wait, timedelta) or ack_wait <= timedelta(0):
            raise TypeError(f"ack_wait must be a timedelta above zero, not {ack_wait!r}.")
        self._url = url if isinstance(url, str) else list(url)
        self.stream, self.consumer, self._subject = stream, consumer, subject
        self._config: dict[str, Any] = {
            "ack_wait": ack_wait.total_seconds(),
            "max_ack_pending": max_ack_pending,
            "deliver_policy": self._api.DeliverPolicy.NEW if start == "new" else self._api.DeliverPolicy.ALL,
        }
        self._options = dict(connection or {})
        self._reading = Reading(id=id, at=at, key=key, topics=topics, only_topics=only_topics)
        self._line: _Line | None = None
        # Counts connections: what came by an earlier one is not settled by the next.
        self._number = 0
        self._unsettled: dict[int, Any] = {}
        self._came = Coming()

    def open(self, position: Any = None) -> None:
        self.close()
        self._number += 1
        self._came = Coming()
        line = _Line(self._nats, self._url, self._options)
        try:
            line.do(self._subscribe(line))
        except BaseException:
            line.close()
            raise
        self._line = line

    async def _subscribe(self, line: _Line) -> None:
        jetstream = line.client.jetstream(timeout=PATIENCE)
        errors = self._nats.js.errors
        try:
            await jetstream.consumer_info(self.stream, self.consumer)
        except errors.NotFoundError:
            with suppress(errors.NotFoundError):
                # Two processes that begin at once ask for the same, and get it.
                await jetstream.add_consumer(
                    self.stream,
                    durable_name=self.consumer,
                    ack_policy=self._api.AckPolicy.EXPLICIT,
                    filter_subject=self._subject or None,
                    **self._config,
                )
            try:
                await jetstream.consumer_info(self.stream, self.consumer)
            except errors.NotFoundError:
                raise LookupError(
                    f"The NATS server has no stream {self.stream!r} that the consumer {self.consumer!r} could be made "
                    f"for. Make it: nats stream add {self.stream} --subjects ..."
                ) from None
        await line.listen(self.stream, self.consumer)

    def fetch(self, most: int, timeout: float) -> Sequence[Message]:
        line = self._ready()
        deadline = time.monotonic() + timeout
        came = self._came
        while not came.enough(most):
            left = deadline - time.monotonic()
            line.ask(came.likely(most - len(came)), max(left, REQUEST))
            sent = line.take(LINGER if came else max(left, 0.0))
            if sent is None:
                if came or time.monotonic() >= deadline:
                    break
                continue
            message = self._message(sent)
            if self._reading.wants(message):
                self._unsettled[message.receipt[1]] = sent
                came.put(message, len(sent.data))
            else:
                line.do(sent.ack())
        return came.take(most)

    def _message(self, sent: Any) -> Message:
        told = sent.metadata
        headers = dict(sent.headers or {})
        place, at = told.sequence.stream, _instant(sent)
        return self._reading.message(
            name=self.name or self.stream,
            topic=sent.subject,
            payload=sent.data,
            headers=headers,
            # With its instant: a stream that is made anew counts from 1 again.
            id=headers.get(_ID) or f"{self.stream}/{place}/{at:%Y%m%dT%H%M%S.%f}",
            at=at,
            deliveries=told.num_delivered,
            receipt=(self._number, place),
        )

    def ack(self, batch: Sequence[Message]) -> None:
        line = self._ready()

        async def acknowledge(sent: Sequence[Any]) -> None:
            for one in sent:
                await one.ack()
            # Until the server has answered, they might be on their way only.
            await line.client.flush(timeout=int(PATIENCE))

        line.do(acknowledge(self._settled(batch)))

    def nack(self, batch: Sequence[Message], delay: timedelta = timedelta(0)) -> None:
        line = self._ready()
        line.do(_give_back(line, self._settled(batch), delay.total_seconds()))

    def _settled(self, batch: Sequence[Message]) -> list[Any]:
        found = [self._unsettled.pop(one.receipt[1], None) for one in batch if one.receipt[0] == self._number]
        return [one for one in found if one is not None]

    def lag(self) -> int | None:
        line = self._ready()

        async def ask() -> Any:
            return await line.client.jetstream(timeout=PATIENCE).consumer_info(self.stream, self.consumer)

        told = line.do(ask())
        return int(told.num_pending or 0) + int(told.num_ack_pending or 0)

    def history(self, since: datetime, until: datetime) -> Iterable[Message]:
        """Yield the messages that the stream took in ``[since, until)``, oldest first."""
        line = _Line(self._nats, self._url, self._options)
        try:
            name = f"kck_history_{uuid4().hex}"
            left = line.do(self._look_back(line, name, since))
            while left:
                line.ask(min(left, PAGE), PATIENCE)
                sent = line.take(PATIENCE)
                if sent is None:
                    raise TimeoutError(
                        f"The stream {self.stream!r} stopped in its history, with {left} messages to come."
                    )
                at = _instant(sent)
                if at >= until:
                    return
                left = sent.metadata.num_pending
                message = self._message(sent)
                if self._reading.wants(message):
                    yield message
        finally:
            line.close()

    async def _look_back(self, line: _Line, name: str, since: datetime) -> int:
        """Make a consumer that nobody else sees and that goes by itself; returns how much it has to read."""
        made = await line.client.jetstream(timeout=PATIENCE).add_consumer(
            self.stream,
            name=name,
            deliver_policy=self._api.DeliverPolicy.BY_START_TIME,
            opt_start_time=since.astimezone(UTC),
            ack_policy=self._api.AckPolicy.NONE,
            filter_subject=self._subject or None,
            inactive_threshold=60.0,
        )
        await line.listen(self.stream, made.name)
        return int(made.num_pending or 0)

    def _ready(self) -> _Line:
        if self._line is None:
            raise ConnectionError(f"The source {self.name or self.stream!r} is not open.")
        return self._line

    def close(self) -> None:
        line, self._line = self._line, None
        if line is None:
            return
        with suppress(Exception):  # a server that is gone gives it to somebody else after ack_wait
            line.do(line.stop_listening(), FAREWELL)
            line.do(_give_back(line, [*self._unsettled.values(), *line.waiting()], 0.0), FAREWELL)
        self._unsettled.clear()
        line.close()


async def _give_back(line: _Line, sent: Sequence[Any], delay: float) -> None:
    for one in sent:
        await one.nak(max(delay, SOON))
    await line.client.flush(timeout=int(PATIENCE))


class _Line:
    """A connection, with the thread in which it lives; and one request for messages at a time."""

    def __init__(self, nats: Any, url: Any, options: Mapping[str, Any]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kck_flow: NATS", daemon=True)
        self._thread.start()
        self._came: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._asked = 0
        self._until = 0.0
        self._next = ""
        self._inbox = ""
        self._subscription: Any = None
        self._under_way: set[asyncio.Task[Any]] = set()
        self.client: Any = None
        try:
            self.client = self.do(self._connect(nats, url, options))
        except BaseException:
            self.close()
            raise

    async def _connect(self, nats: Any, url: Any, options: Mapping[str, Any]) -> Any:
        async def lost(*_: Any) -> None:
            self._came.put(_LOST)
            for task in self._under_way:  # what waits for an answer would wait in vain
                task.cancel()

        async def quiet(_: Any) -> None:
            """What goes wrong is told where it is noticed."""

        given = {
            "connect_timeout": int(PATIENCE),
            # Whoever reads opens it again; half of a connection is none.
            "allow_reconnect": False,
            "ping_interval": 10,
            "closed_cb": lost,
            "disconnected_cb": lost,
            "error_cb": quiet,
            **options,
        }
        return await asyncio.wait_for(nats.connect(url, **given), 2 * PATIENCE)

    def do(self, work: Coroutine[Any, Any, Any], limit: float = 3 * PATIENCE) -> Any:
        """Do it in the connection's thread, in so many seconds; returns what it returns."""
        if not self._thread.is_alive():
            work.close()
            raise ConnectionError("The connection to NATS is closed.")
        try:
            return asyncio.run_coroutine_threadsafe(self._watched(work), self._loop).result(limit)
        except CancelledError:
            raise ConnectionError("The connection to NATS is lost.") from None

    async def _watched(self, work: Coroutine[Any, Any, Any]) -> Any:
        task = asyncio.current_task()
        if self.client is None or task is None:
            return await work
        self._under_way.add(task)
        try:
            return await work
        finally:
            self._under_way.discard(task)

    async def listen(self, stream: str, consumer: str) -> None:
        """Take what the server sends on requests for this consumer."""
        self._inbox = self.client.new_inbox()
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"

        async def arrived(sent: Any) -> None:
            self._came.put(sent)

        # We ask for no more than we take: nothing may be dropped because there is much of it.
        self._subscription = await self.client.subscribe(
            self._inbox, cb=arrived, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        await self.client.flush(timeout=int(PATIENCE))

    async def _end(self) -> None:
        try:
            if self.client is not None:
                await asyncio.wait_for(self.client.close(), PATIENCE / 2)
        finally:
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

    async def stop_listening(self) -> None:
        """Take nothing more: what is given back from now on is not brought to us again."""
        await self._subscription.unsubscribe()
        await self.client.flush(timeout=int(PATIENCE))

    def ask(self, most: int, expires: float) -> None:
        """Ask for messages, unless what was asked for before may still come."""
        if self.client.is_closed:
            raise ConnectionError("The connection to NATS is lost.")
        if self._asked > 0 and time.monotonic() < self._until:
            return
        self._asked, self._until = most, time.monotonic() + expires + 1
        request = {"batch": most, "expires": int(expires * 1e9)}
        self.do(self.client.publish(self._next, json.dumps(request).encode(), reply=self._inbox))

    def take(self, timeout: float) -> Any:
        """Return the next message that comes within so many seconds; None where none does, or the request is over.

        Raises:
            ConnectionError: it is lost.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                sent = self._came.get(timeout=max(deadline - time.monotonic(), 0.0001))
            except queue.Empty:
                return None
            if sent is _LOST:
                raise ConnectionError("The connection to NATS is lost.")
            if not _is_told(sent):
                self._asked -= 1
                return sent
            status = (sent.headers or {}).get("Status")
            if status == "100":
                continue
            # 404 and 408: no more comes on this request. 409: the consumer has as much under way as it may, or is gone.
            self._asked = 0
            told = (sent.headers or {}).get("Description", "")
            if status not in ("404", "408") and "Max" not in told:
                raise ConnectionError(f"NATS refuses to deliver: {status} {told}")
            if status == "409":  # it would refuse at once again
                time.sleep(min(max(deadline - time.monotonic(), 0.0), BUSY))
            return None

    def waiting(self) -> list[Any]:
        """Return what has come and was not taken."""
        found = []
        with suppress(queue.Empty):
            while True:
                sent = self._came.get_nowait()
                if sent is not _LOST and not _is_told(sent):
                    found.append(sent)
        return found

    def close(self) -> None:
        """Let go of it, and end its thread."""
        with suppress(Exception):
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        if not self._thread.is_alive():
            self._loop.close()


def _is_told(sent: Any) -> bool:
    """Return whether it is word from the server on a request, and no message: it has no place to acknowledge it."""
    return not (sent.reply or "").startswith("$JS.ACK.")


def _instant(sent: Any) -> datetime:
    """Return when the stream took a message, to the microsecond before: nats-py would round it up."""
    parts = sent.reply.split(".")
    nanoseconds = int(parts[7] if len(parts) == 9 else parts[9])
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanoseconds // 1000)
