"""NATS JetStream against a nats-server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from kck_flow.message import Message
from kck_flow.sources.nats import NATS
from kck_flow.testing.sources import Outgoing, SourceConformance
from tests.harness.nats import NATSServer
from tests.harness.proxy import Proxy
from tests.sources.senders import send_nats

pytestmark = pytest.mark.needs_nats


class TestConformance(SourceConformance):
    @pytest.fixture(autouse=True)
    def _broker(self, nats: NATSServer) -> Iterator[None]:
        self.broker, self.stream = nats, f"conformance-{uuid4().hex}"
        self.topic = f"{self.stream}.sent"
        send_nats(nats.url, self.topic, [], stream=self.stream)
        self.proxies: dict[int, Proxy] = {}
        with ExitStack() as self.stack:
            yield

    def make(self) -> NATS:
        proxy = self.stack.enter_context(Proxy(self.broker.url))
        source = NATS(proxy.url, self.stream, ack_wait=timedelta(seconds=2))
        self.proxies[id(source)] = proxy
        return source

    def send(self, messages: Sequence[Outgoing]) -> None:
        send_nats(self.broker.url, self.topic, messages)

    def cut(self, source: NATS) -> None:
        self.proxies[id(source)].cut()

    def abandon(self, source: NATS) -> None:
        self.proxies[id(source)].refuse()

    def restart(self) -> None:
        self.broker.restart()


@pytest.fixture
def stream(nats: NATSServer) -> str:
    name = f"stream-{uuid4().hex}"
    send_nats(nats.url, f"{name}.>", [], stream=name)
    return name


@pytest.fixture
def opened(nats: NATSServer, stream: str) -> Iterator:
    with ExitStack() as stack:

        def make(**options) -> NATS:
            source = NATS(options.pop("url", nats.url), stream, **options)
            source.name = "orders"
            stack.callback(source.close)
            source.open()
            return source

        yield make


def _all(source: NATS, count: int) -> list[Message]:
    found: list[Message] = []
    while len(found) < count:
        some = source.fetch(count - len(found), 30)
        assert some
        found.extend(some)
    return found


def test_the_subject_is_the_topic_and_the_place_the_id(nats: NATSServer, stream: str, opened) -> None:
    source = opened(topics={f"{stream}.*.paid": "paid"}, key="customer")
    for subject in (f"{stream}.eu.paid", f"{stream}.eu.open"):
        send_nats(nats.url, subject, [Outgoing(b'{"customer": "c"}', "")])
    first, second = _all(source, 2)
    assert (first.topic, second.topic, first.key) == ("paid", f"{stream}.eu.open", "c")
    assert first.id.startswith(f"{stream}/1/")
    assert second.id.startswith(f"{stream}/2/")
    source.nack([first])
    (again,) = _all(source, 1)
    assert (again.id, again.at, again.deliveries) == (first.id, first.at, 2)


def test_some_subjects_of_a_stream_and_what_is_not_wanted(nats: NATSServer, stream: str, opened) -> None:
    source = opened(subject=f"{stream}.eu.*", only_topics=["*.paid"])
    for subject in ("eu.paid", "us.paid", "eu.open", "eu.paid"):
        send_nats(nats.url, f"{stream}.{subject}", [Outgoing(b"{}")])
    assert [message.topic for message in _all(source, 2)] == [f"{stream}.eu.paid"] * 2
    assert source.fetch(10, 0.2) == []
    now = datetime.now(UTC)
    assert len(list(source.history(now - timedelta(hours=1), now + timedelta(hours=1)))) == 2


def test_a_new_consumer_begins_where_it_is_told_to(nats: NATSServer, stream: str, opened) -> None:
    send_nats(nats.url, f"{stream}.a", [Outgoing(b"0")])
    late, early = opened(consumer="late", start="new"), opened(consumer="early")
    send_nats(nats.url, f"{stream}.a", [Outgoing(b"1")])
    assert [message.body for message in _all(late, 1)] == [1]
    assert [message.body for message in _all(early, 2)] == [0, 1]


def test_a_stream_that_is_not_there_is_named(nats: NATSServer) -> None:
    with pytest.raises(LookupError, match=r"has no stream 'nowhere'.*nats stream add nowhere"):
        NATS(nats.url, "nowhere").open()


def test_a_server_that_is_not_there_is_an_error_and_leaves_no_thread() -> None:
    before = threading.active_count()
    with pytest.raises(Exception):  # noqa: B017
        NATS("nats://127.0.0.1:1", "s", connection={"max_reconnect_attempts": 1}).open()
    assert threading.active_count() == before


def test_a_consumer_that_is_deleted_is_an_error_and_made_again(nats: NATSServer, stream: str, opened) -> None:
    import nats as library

    async def delete() -> None:
        client = await library.connect(nats.url)
        await client.jetstream().delete_consumer(stream, "kck_flow")
        await client.close()

    source = opened()
    assert source.fetch(1, 0.1) == []
    asyncio.run(delete())
    send_nats(nats.url, f"{stream}.a", [Outgoing(b"0", "m")])
    for _ in range(10):
        try:
            found = source.fetch(1, 5)
        except Exception:
            source.close()
            source.open()
            continue
        if found:
            break
    assert [message.id for message in found] == ["m"]


def test_more_under_way_than_may_be_waits_for_acknowledgement(nats: NATSServer, stream: str, opened) -> None:
    source = opened(max_ack_pending=10)
    wanted = [Outgoing(b"%d" % number) for number in range(25)]
    send_nats(nats.url, f"{stream}.a", wanted)
    first = _all(source, 10)
    assert source.fetch(10, 0.3) == []
    source.ack(first)
    second = _all(source, 10)
    source.ack(second)
    assert {message.id for message in [*first, *second, *_all(source, 5)]} == {
        message.id for message in wanted
    }


def test_a_network_that_hangs_is_noticed(nats: NATSServer, stream: str, opened) -> None:
    with Proxy(nats.url) as proxy:
        source = opened(url=proxy.url, connection={"ping_interval": 1, "max_outstanding_pings": 1})
        proxy.hang()
        with pytest.raises(ConnectionError):
            source.fetch(1, 60)
        proxy.cut()
        source.close()
        proxy.heal()
        source.open()
        send_nats(nats.url, f"{stream}.a", [Outgoing(b"0", "m")])
        assert [message.id for message in _all(source, 1)] == ["m"]


def test_a_batch_that_takes_longer_than_pings_keeps_its_connection(
    nats: NATSServer, stream: str, opened
) -> None:
    source = opened(connection={"ping_interval": 1, "max_outstanding_pings": 1})
    send_nats(nats.url, f"{stream}.a", [Outgoing(b"0", "m")])
    batch = _all(source, 1)
    threading.Event().wait(
        3.5
    )  # whoever stores it says nothing meanwhile; the pings are the connection's own
    source.ack(batch)
    assert source.lag() == 0


def test_many_messages_are_history(nats: NATSServer, stream: str, opened) -> None:
    wanted = [Outgoing(b"%d" % number) for number in range(1200)]
    send_nats(nats.url, f"{stream}.a", wanted)
    now = datetime.now(UTC)
    found = [message.id for message in opened().history(now - timedelta(hours=1), now + timedelta(hours=1))]
    assert found == [message.id for message in wanted]
