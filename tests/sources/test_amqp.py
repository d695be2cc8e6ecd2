"""AMQP against a RabbitMQ."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import amqp
import kombu
import pytest

from kck_flow.message import Message
from kck_flow.sources.amqp import AMQP
from kck_flow.testing.sources import Outgoing, SourceConformance
from tests.harness.proxy import Proxy
from tests.harness.rabbitmq import RabbitMQ
from tests.sources.senders import send_amqp

pytestmark = pytest.mark.needs_rabbitmq


class TestConformance(SourceConformance):
    @pytest.fixture(autouse=True)
    def _broker(self, rabbitmq_broker: RabbitMQ) -> Iterator[None]:
        self.broker, self.topic = rabbitmq_broker, f"conformance-{uuid4().hex}"
        self.proxies: dict[int, Proxy] = {}
        with ExitStack() as self.stack:
            yield

    def make(self) -> AMQP:
        proxy = self.stack.enter_context(Proxy(self.broker.url))
        source = AMQP(proxy.url, self.topic)
        self.proxies[id(source)] = proxy
        return source

    def send(self, messages: Sequence[Outgoing]) -> None:
        send_amqp(self.broker.url, self.topic, messages)

    def cut(self, source: AMQP) -> None:
        self.proxies[id(source)].cut()

    def abandon(self, source: AMQP) -> None:
        self.proxies[id(source)].refuse()

    def restart(self) -> None:
        self.broker.restart()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no kernel kills a child with its parent")
def test_the_broker_cannot_outlive_the_tests(rabbitmq_broker: RabbitMQ) -> None:
    assert Path(f"/proc/{rabbitmq_broker.pid}/comm").read_text() == "beam.smp\n"


@pytest.fixture
def queue() -> str:
    return f"queue-{uuid4().hex}"


@pytest.fixture
def opened(rabbitmq_broker: RabbitMQ, queue: str) -> Iterator:
    with ExitStack() as stack:

        def make(**options) -> AMQP:
            source = AMQP(options.pop("url", rabbitmq_broker.url), queue, **options)
            source.name = "orders"
            stack.callback(source.close)
            source.open()
            return source

        yield make


def _all(source: AMQP, count: int) -> list[Message]:
    found: list[Message] = []
    while len(found) < count:
        some = source.fetch(count - len(found), 30)
        assert some
        found.extend(some)
    return found


def test_an_exchange_is_bound_with_its_routing_keys_and_the_key_is_the_topic(
    rabbitmq_broker: RabbitMQ, opened
) -> None:
    exchange = f"exchange-{uuid4().hex}"
    with kombu.Connection(f"py{rabbitmq_broker.url}") as connection:
        connection.channel().exchange_declare(exchange, "topic", durable=True, auto_delete=False)
    source = opened(
        exchange=exchange,
        routing_keys=["orders.#", "refunds.*"],
        topics={"orders.*.paid": "paid"},
        only_topics=["paid", "r*"],
    )
    for routing_key in ("orders.eu.paid", "orders.eu.open", "refunds.us", "other"):
        send_amqp(rabbitmq_broker.url, routing_key, [Outgoing(b"{}")], exchange=exchange)
    assert [message.topic for message in _all(source, 2)] == ["paid", "refunds.us"]
    assert source.fetch(10, 0.2) == []
    source.close()  # what is not wanted was acknowledged and does not come again
    source.open()
    assert {message.topic for message in _all(source, 2)} == {"paid", "refunds.us"}


def test_properties_tell_id_instant_and_headers(rabbitmq_broker: RabbitMQ, queue: str, opened) -> None:
    source = opened(key="customer")
    send_amqp(
        rabbitmq_broker.url,
        queue,
        [Outgoing(b'{"customer": 7}', "m1")],
        properties={
            "timestamp": 1767225600,
            "correlation_id": "c",
            "application_headers": {"raw": b"\xff", "nested": {"list": [1, None]}},
        },
    )
    (message,) = _all(source, 1)
    assert (message.id, message.key, message.at.isoformat()) == ("m1", "7", "2026-01-01T00:00:00+00:00")
    assert message.headers == {"correlation_id": "c", "raw": "/w==", "nested": {"list": [1, None]}}


def test_a_message_without_an_id_is_told_of_once_and_a_field_can_tell_it(
    rabbitmq_broker: RabbitMQ, queue: str, opened, caplog: pytest.LogCaptureFixture
) -> None:
    source = opened()
    for number in range(2):
        send_amqp(
            rabbitmq_broker.url,
            queue,
            [Outgoing(b'{"event": {"id": %d}}' % number)],
            properties={"message_id": None, "timestamp": None},
        )
    assert [(message.id, message.at) for message in _all(source, 2)] == [("", None)] * 2
    assert sum("source.no_id" in record.message for record in caplog.records) == 1
    source.close()
    assert {message.id for message in _all(opened(id="event.id"), 2)} == {"0", "1"}


def test_what_the_library_cannot_read_is_rejected_and_the_next_comes(
    rabbitmq_broker: RabbitMQ, queue: str, opened, caplog: pytest.LogCaptureFixture
) -> None:
    class Unreadable(amqp.Message):
        def _serialize_properties(self) -> bytes:
            return b"\x00\x80\x02\xff\xfe"  # a message_id that is no UTF-8

    source = opened()
    send_amqp(rabbitmq_broker.url, queue, [Outgoing(b"1", "before")])
    with kombu.Connection(
        f"py{rabbitmq_broker.url}", transport_options={"confirm_publish": True}
    ) as connection:
        connection.channel().basic_publish(Unreadable(b"2"), "", queue)
    send_amqp(rabbitmq_broker.url, queue, [Outgoing(b"3", "after")])
    found: set[str] = set()
    for _ in range(5):
        try:
            found |= {message.id for message in source.fetch(10, 5)}
        except ValueError:
            source.close()
            source.open()
        if found == {"before", "after"}:
            break
    assert found == {"before", "after"}
    assert sum("source.unreadable" in record.message for record in caplog.records) == 1


def test_a_deleted_queue_is_an_error_and_made_again(rabbitmq_broker: RabbitMQ, queue: str, opened) -> None:
    source = opened()
    assert source.fetch(1, 0.1) == []
    with kombu.Connection(f"py{rabbitmq_broker.url}") as connection:
        connection.channel().queue_delete(queue)
    with pytest.raises(Exception):  # noqa: B017
        source.fetch(1, 30)
    source.close()
    source.open()
    send_amqp(rabbitmq_broker.url, queue, [Outgoing(b"1", "m")])
    assert [message.id for message in _all(source, 1)] == ["m"]


def test_a_network_that_hangs_is_noticed(rabbitmq_broker: RabbitMQ, opened) -> None:
    with Proxy(rabbitmq_broker.url) as proxy:
        source = opened(url=proxy.url, heartbeat=1)
        assert source.fetch(1, 0.1) == []
        proxy.hang()
        with pytest.raises(Exception):  # noqa: B017
            source.fetch(1, 60)
        source.close()
        proxy.heal()
        source.open()


def test_a_small_batch_may_be_followed_by_a_large_one(rabbitmq_broker: RabbitMQ, queue: str, opened) -> None:
    source = opened()
    wanted = [Outgoing(b"%d" % number) for number in range(1500)]
    send_amqp(rabbitmq_broker.url, queue, wanted)
    found = list(source.fetch(1, 30))
    while len(found) < 1500:
        some = source.fetch(600, 30)
        assert some
        source.ack(some)
        found.extend(some)
    assert [message.id for message in found] == [message.id for message in wanted]
    assert source.lag() == 1
    source.ack(found)  # twice, most of them: the second time is nothing
    assert source.lag() == 0


def test_an_existing_queue_of_other_arguments_is_read_with_declare_false(
    rabbitmq_broker: RabbitMQ, queue: str, opened
) -> None:
    with kombu.Connection(f"py{rabbitmq_broker.url}") as connection:
        connection.channel().queue_declare(queue, durable=False, auto_delete=False)
    with pytest.raises(amqp.exceptions.PreconditionFailed):
        opened()
    assert opened(declare=False).fetch(1, 0.1) == []


def test_delays_of_several_lengths(rabbitmq_broker: RabbitMQ, queue: str, opened) -> None:
    source = opened()
    send_amqp(rabbitmq_broker.url, queue, [Outgoing(b"1", "long"), Outgoing(b"2", "short")])
    first, second = _all(source, 2)
    source.nack([first], timedelta(seconds=0.6))
    source.nack([second], timedelta(seconds=0.1))
    assert [message.id for message in _all(source, 2)] == ["short", "long"]


def test_a_quorum_queue_counts_deliveries(rabbitmq_broker: RabbitMQ, queue: str, opened) -> None:
    source = opened(queue_arguments={"x-queue-type": "quorum"})
    send_amqp(rabbitmq_broker.url, queue, [Outgoing(b"1", "m")])
    counts = []
    for _ in range(3):
        (message,) = _all(source, 1)
        counts.append(message.deliveries)
        source.nack([message])
    assert counts == [1, 2, 3]
