"""Redis Streams against a redis-server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import redis

from kck_flow.message import Message
from kck_flow.sources.redis_streams import RedisStreams
from kck_flow.testing.sources import Outgoing, SourceConformance
from tests.harness.proxy import Proxy
from tests.harness.redis import RedisServer
from tests.harness.wait import until
from tests.sources.senders import send_redis

pytestmark = pytest.mark.needs_redis


class TestConformance(SourceConformance):
    @pytest.fixture(autouse=True)
    def _broker(self, redis_server: RedisServer) -> Iterator[None]:
        self.broker, self.topic = redis_server, f"conformance-{uuid4().hex}"
        self.proxies: dict[int, Proxy] = {}
        with ExitStack() as self.stack:
            yield

    def make(self) -> RedisStreams:
        proxy = self.stack.enter_context(Proxy(self.broker.url))
        source = RedisStreams(proxy.url, self.topic, id="id", claim_after=timedelta(seconds=1))
        self.proxies[id(source)] = proxy
        return source

    def send(self, messages: Sequence[Outgoing]) -> None:
        send_redis(self.broker.url, self.topic, messages)

    def cut(self, source: RedisStreams) -> None:
        self.proxies[id(source)].cut()

    def abandon(self, source: RedisStreams) -> None:
        self.proxies[id(source)].refuse()

    def restart(self) -> None:
        self.broker.restart()


@pytest.fixture
def stream() -> str:
    return f"stream-{uuid4().hex}"


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


@pytest.fixture
def opened(redis_server: RedisServer, stream: str) -> Iterator:
    with ExitStack() as stack:

        def make(**options) -> RedisStreams:
            source = RedisStreams(options.pop("url", redis_server.url), stream, **options)
            source.name = "orders"
            stack.callback(source.close)
            source.open()
            return source

        yield make


def _all(source: RedisStreams, count: int) -> list[Message]:
    found: list[Message] = []
    while len(found) < count:
        some = source.fetch(count - len(found), 30)
        assert some
        found.extend(some)
    return found


def test_what_others_appended_is_a_dict_of_texts(client: redis.Redis, stream: str, opened) -> None:
    source = opened(key="customer")
    entry = client.xadd(stream, {"customer": "7", "cents": "120", "photo": b"\xff\x00", b"\xfe": "odd"})
    (message,) = _all(source, 1)
    assert message.body == {"customer": "7", "cents": "120", "photo": "/wA=", "\\xfe": "odd"}
    assert message.headers == {"kck_body": ["photo"]}
    assert (message.id, message.key, message.topic) == (entry.decode(), "7", stream)
    assert message.at == datetime.fromtimestamp(int(entry.split(b"-")[0]) / 1000, UTC)


def test_a_field_body_is_the_body_and_the_others_are_headers(
    client: redis.Redis, stream: str, opened
) -> None:
    source = opened(id="id", at="at", key="customer.id", topics={"stream-*": "orders"})
    client.xadd(stream, {"body": '{"customer": {"id": 7}}', "id": "m1", "at": "2026-03-01T10:00:00+01:00"})
    (message,) = _all(source, 1)
    assert message.body == {"customer": {"id": 7}}
    assert message.headers == {"id": "m1", "at": "2026-03-01T10:00:00+01:00"}
    assert (message.id, message.key, message.topic) == ("m1", "7", "orders")
    assert message.at == datetime(2026, 3, 1, 9, tzinfo=UTC)


def test_ids_of_the_senders_own_tell_what_they_can(client: redis.Redis, stream: str, opened) -> None:
    source = opened()
    for entry in ("1-1", "18446744073709551615-1"):
        client.xadd(stream, {"a": "b"}, id=entry)
    assert [(one.id, one.at and one.at.year) for one in _all(source, 2)] == [
        ("1-1", 1970),
        ("18446744073709551615-1", None),
    ]


def test_a_new_group_begins_where_it_is_told_to(client: redis.Redis, stream: str, opened) -> None:
    client.xadd(stream, {"n": "0"})
    late, early = opened(group="late", start="$"), opened(group="early")
    client.xadd(stream, {"n": "1"})
    assert [message.body["n"] for message in _all(late, 1)] == ["1"]
    assert [message.body["n"] for message in _all(early, 2)] == ["0", "1"]


def test_a_named_consumer_finds_at_once_what_it_held_when_it_died(
    redis_server: RedisServer, client: redis.Redis, stream: str, opened
) -> None:
    with Proxy(redis_server.url) as proxy:
        first = opened(url=proxy.url, consumer="one", claim_after=timedelta(hours=1))
        client.xadd(stream, {"n": "0"})
        assert [message.deliveries for message in _all(first, 1)] == [1]
        proxy.refuse()
        assert [message.deliveries for message in _all(opened(consumer="one"), 1)] == [2]


def test_deliveries_are_counted_across_consumers(client: redis.Redis, stream: str, opened) -> None:
    first, second = opened(), opened()
    client.xadd(stream, {"n": "0"})
    batch = _all(first, 1)
    first.nack(batch)
    (again,) = _all(second, 1)
    assert (batch[0].deliveries, again.deliveries) == (1, 2)
    second.ack([again])
    assert client.xpending(stream, "kck_flow")["pending"] == 0


def test_a_batch_that_takes_long_to_store_comes_once_while_its_consumer_lives(
    client: redis.Redis, stream: str, opened
) -> None:
    first = opened(claim_after=timedelta(milliseconds=200))
    second = opened(claim_after=timedelta(milliseconds=200))
    client.xadd(stream, {"n": "0"})
    batch = _all(first, 1)
    for _ in range(20):  # its holder goes on reading, and so gives signs of life
        assert first.fetch(1, 0.02) == []
    first.ack(batch)
    assert second.fetch(1, 0.5) == []


def test_whoever_leaves_leaves_no_consumer_behind(client: redis.Redis, stream: str, opened) -> None:
    first, second = opened(), opened()
    client.xadd(stream, {"n": "0"})
    first.ack(_all(first, 1))
    assert second.fetch(1, 0.01) == []
    first.close()
    assert {one["name"] for one in client.xinfo_consumers(stream, "kck_flow")} == {second.consumer.encode()}


def test_entries_that_were_trimmed_while_they_were_pending_stop_nobody(
    redis_server: RedisServer, client: redis.Redis, stream: str, opened
) -> None:
    with Proxy(redis_server.url) as proxy:
        first = opened(url=proxy.url, consumer="one")
        for number in range(3):
            client.xadd(stream, {"n": str(number)})
        _all(first, 3)
        proxy.refuse()
    client.xtrim(stream, maxlen=1, approximate=False)
    source = opened(consumer="one", claim_after=timedelta(milliseconds=100))
    assert [message.body["n"] for message in _all(source, 1)] == ["2"]
    client.xadd(stream, {"n": "3"})
    assert [message.body["n"] for message in _all(source, 1)] == ["3"]


def test_a_stream_that_is_gone_is_an_error_and_begins_again(client: redis.Redis, stream: str, opened) -> None:
    source = opened()
    client.delete(stream)
    with pytest.raises(redis.ResponseError):
        source.fetch(1, 1)
    source.close()
    source.open()
    client.xadd(stream, {"n": "0"})
    assert [message.body["n"] for message in _all(source, 1)] == ["0"]


def test_more_entries_than_a_page_are_history(client: redis.Redis, stream: str, opened) -> None:
    with client.pipeline() as pipeline:
        for number in range(2500):
            pipeline.xadd(stream, {"n": str(number)})
        pipeline.execute()
    source = opened(only_topics=["stream-*"])
    now = datetime.now(UTC)
    found = [
        message.body["n"] for message in source.history(now - timedelta(hours=1), now + timedelta(hours=1))
    ]
    assert found == [str(number) for number in range(2500)]


def test_a_network_that_hangs_is_noticed(
    redis_server: RedisServer, client: redis.Redis, stream: str, opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(redis_server.url) as proxy:
        source = opened(url=proxy.url, connection={"socket_timeout": 1, "socket_connect_timeout": 1})
        monkeypatch.setattr("kck_flow.sources.redis_streams.LONGEST_BLOCK", 0.5)
        proxy.hang()
        with pytest.raises(redis.TimeoutError):
            source.fetch(1, 60)
        source.close()
        proxy.heal()
        source.open()
        client.xadd(stream, {"n": "0"})
        assert [message.body["n"] for message in _all(source, 1)] == ["0"]


def test_the_instant_of_a_session_without_entries_waits_for_nothing(opened) -> None:
    assert opened().fetch(1, 0) == []


def test_what_waits_is_told(client: redis.Redis, stream: str, opened) -> None:
    source = opened()
    for number in range(5):
        client.xadd(stream, {"n": str(number)})
    source.ack(_all(source, 2)[:1])
    until(lambda: source.lag() == 4, "a lag of 4")
