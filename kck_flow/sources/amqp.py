"""AMQP: the messages of a queue, from RabbitMQ or another broker of AMQP 0-9-1, through kombu.

kombu is used for AMQP alone: of Redis it loses what it did not write itself, and it knows neither streams nor NATS.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, ClassVar
from uuid import uuid4

from ..message import Message, Source
from . import library, texts
from .reading import Coming, Reading, instant

logger = logging.getLogger("kck_flow")

# Seconds for the broker to take a connection, and to answer.
PATIENCE = 10
# Seconds to wait for more once something has come: a batch should be more than what fits a packet.
LINGER = 0.002
# The first batch's size is known once it is asked for; an own window for less would only be widened soon after.
LEAST_WINDOW = 100

_SAID = ("content_type", "content_encoding", "correlation_id", "reply_to", "type", "app_id", "user_id")


class AMQP(Source):
    """A queue.

    What is not acknowledged comes again as soon as its connection ends. The message's id is its property
    ``message_id``, its instant the property ``timestamp``, its topic the routing key. A message with neither id nor
    timestamp cannot be told from itself when it is delivered twice: name a field that does (``id``).

    Args:
        url: ``amqp://user:password@host:5672/vhost``, or ``amqps://``.
        queue: Its name.
        exchange: An exchange to bind it to; it must be there. None where not given.
        routing_keys: With which routing keys.
        declare: Whether to make the queue, durable, where it is not there. False: it must be there, and may be any.
        queue_arguments: Arguments to declare it with, such as ``{"x-queue-type": "quorum"}``.
        heartbeat: Seconds between two signs of life. A batch must be stored within twice that time.
        connection: Further arguments of ``kombu.Connection``, such as ``{"ssl": {...}}``.
        id, at, key, topics, only_topics: See ``Reading``.
    """

    # Several processes may read one queue, and what comes again comes later than what followed it.
    ordered: ClassVar[bool] = False

    def __init__(
        self,
        url: str,
        queue: str,
        *,
        exchange: str = "",
        routing_keys: Sequence[str] = ("#",),
        declare: bool = True,
        queue_arguments: Mapping[str, Any] | None = None,
        heartbeat: float = 30,
        connection: Mapping[str, Any] | None = None,
        id: str = "",
        at: str = "",
        key: str = "",
        topics: Mapping[str, str] | None = None,
        only_topics: Sequence[str] = (),
    ) -> None:
        self._kombu = library("kombu", "amqp")
        if not url.startswith(("amqp://", "amqps://")):
            raise ValueError(
                f"url must begin with amqp:// or amqps://, not {url.partition(':')[0]!r}: other brokers have sources "
                "of their own."
            )
        if int(heartbeat) < 1:  # AMQP counts whole seconds
            raise ValueError(f"heartbeat must be at least 1 second, not {heartbeat!r}.")
        # Plain amqp:// would be librabbitmq where that is installed.
        self._url = f"py{url}" if url.startswith("amqp://") else url
        self.queue = queue
        self._exchange, self._routing_keys = exchange, texts("routing_keys", routing_keys)
        self._declare, self._arguments = declare, dict(queue_arguments or {})
        self._heartbeat, self._options = int(heartbeat), dict(connection or {})
        self._reading = Reading(id=id, at=at, key=key, topics=topics, only_topics=only_topics)
        self._connection: Any = None
        self._channel: Any = None
        # Counts connections: a delivery can be settled only on its own.
        self._number = 0
        self._begin()

    def _begin(self) -> None:
        self._whole = False
        self._consumer = ""
        self._window = 0
        self._last = 0
        self._came = Coming()
        # Deliveries that are neither acknowledged nor given back, in their order.
        self._unsettled: dict[int, None] = {}
        self._later: list[tuple[float, int]] = []

    def open(self, position: Any = None) -> None:
        self.close()
        self._begin()
        self._number += 1
        options = {
            "heartbeat": self._heartbeat,
            "connect_timeout": PATIENCE,
            "transport_options": {"read_timeout": PATIENCE, "write_timeout": PATIENCE},
            **self._options,
        }
        self._connection = self._kombu.Connection(self._url, **options)
        self._connection.connect()
        self._channel = self._connection.channel()
        self._whole = True
        self._channel.queue_declare(
            self.queue,
            passive=not self._declare,
            durable=True,
            exclusive=False,
            auto_delete=False,
            arguments=self._arguments or None,
        )
        if self._exchange:
            for routing_key in self._routing_keys:
                self._channel.queue_bind(self.queue, self._exchange, routing_key)

    def fetch(self, most: int, timeout: float) -> Sequence[Message]:
        self._ready()
        deadline = time.monotonic() + timeout
        try:
            self._consume(most)
            while True:
                self._give_back()
                now = time.monotonic()
                if self._came or now > deadline:
                    break
                until = min([deadline, now + self._heartbeat / 4, *(due for due, _ in self._later[:1])])
                self._drain(max(until - now, 0.001))
                self._connection.heartbeat_check()
            while not self._came.enough(most) and self._drain(LINGER):
                pass
        except Exception:
            self._whole = False
            raise
        return self._came.take(most)

    def _consume(self, most: int) -> None:
        """Let the broker send two batches ahead, and no more: so much is on its way while a batch is stored."""
        if self._window >= 2 * most:
            return
        self._window = max(2 * most, LEAST_WINDOW)
        if self._consumer:
            # What has been delivered stays so. The new window is that of the consumers to come.
            self._channel.basic_cancel(self._consumer)
        self._channel.basic_qos(0, min(self._window, 65_535), False)
        self._consumer = f"kck_flow-{uuid4().hex}"
        self._channel.basic_consume(self.queue, consumer_tag=self._consumer, callback=self._arrived)

    def _drain(self, timeout: float) -> bool:
        """Take what the broker sends next; returns whether anything came within so many seconds."""
        try:
            self._connection.drain_events(timeout=timeout)
        except TimeoutError:
            return False
        except (ValueError, OverflowError) as error:
            # A property or header that is no text, or an instant beyond all calendars: the library cannot read it, and
            # would not the next time. Tags count the deliveries of a channel, so we know what to refuse.
            tag = self._last + 1
            self._channel.basic_reject(tag, requeue=False)
            logger.error(
                'source.unreadable source=%s queue=%s error="%s" hint="rejected: its properties cannot be read; it is '
                'in the dead-letter exchange of its queue, if that has one"',
                self.name,
                self.queue,
                error,
            )
            raise
        return True

    def _arrived(self, sent: Any) -> None:
        delivery = sent.delivery_info
        tag = self._last = delivery["delivery_tag"]
        properties = sent.properties
        headers = {name: properties[name] for name in _SAID if properties.get(name)}
        headers |= properties.get("application_headers") or {}
        body = sent.body or b""
        payload = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else bytes(body)
        told = headers.get("x-delivery-count")  # of quorum queues
        message = self._reading.message(
            name=self.name or self.queue,
            # A fan-out needs no routing key, and a topic has a name.
            topic=delivery["routing_key"] or delivery["exchange"] or self.queue,
            payload=payload,
            headers=headers,
            id=properties.get("message_id") or "",
            at=instant(properties.get("timestamp")),
            deliveries=1 + (told if isinstance(told, int) and told > 0 else bool(delivery["redelivered"])),
            receipt=(self._number, tag),
        )
        if self._reading.wants(message):
            self._unsettled[tag] = None
            self._came.put(message, len(payload))
        else:
            self._channel.basic_ack(tag)

    def ack(self, batch: Sequence[Message]) -> None:
        tags = self._tags(batch)
        last = 0
        for tag in self._unsettled:
            if tag not in tags:
                break
            last = tag
        with self._watched():
            if last:
                self._channel.basic_ack(last, multiple=True)
            for tag in tags:
                if tag > last:
                    self._channel.basic_ack(tag)
        for tag in tags:
            del self._unsettled[tag]

    def nack(self, batch: Sequence[Message], delay: timedelta = timedelta(0)) -> None:
        # AMQP knows no delay: until then the messages stay with us, undone; if we die, they come at once.
        due = time.monotonic() + delay.total_seconds()
        for tag in self._tags(batch):
            heapq.heappush(self._later, (due, tag))
        with self._watched():
            self._give_back()

    def _give_back(self) -> None:
        while self._later and self._later[0][0] <= time.monotonic():
            _, tag = heapq.heappop(self._later)
            if tag in self._unsettled:
                self._channel.basic_reject(tag, requeue=True)
                del self._unsettled[tag]

    def _tags(self, batch: Sequence[Message]) -> set[int]:
        """Return the deliveries of a batch that can still be settled: the broker took the others back by itself."""
        given = {message.receipt[1] for message in batch if message.receipt[0] == self._number}
        return given & self._unsettled.keys()

    def _watched(self) -> _Watch:
        self._ready()
        return _Watch(self)

    def lag(self) -> int | None:
        self._ready()
        with self._watched():
            ready = self._channel.queue_declare(self.queue, passive=True).message_count
        return int(ready) + len(self._unsettled)

    def _ready(self) -> None:
        if self._connection is None:
            raise ConnectionError(f"The source {self.name or self.queue!r} is not open.")

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        # A broker that has just been lost would not answer a farewell. Whatever we hold, it takes back.
        with suppress(Exception):
            if self._whole:
                connection.release()
            elif connection._connection is not None:
                connection._connection.collect()
        self._begin()


class _Watch:
    """Notes that a connection is lost."""

    def __init__(self, source: AMQP) -> None:
        self._source = source

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is not None:
            self._source._whole = False
