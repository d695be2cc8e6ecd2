"""What every source of messages must do, as tests for pytest. They run against the real broker.

Subclass ``SourceConformance``, say how to make a source, how to send to it, and how its broker fails.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from ..message import Message, Source

# Bodies as their senders write them, and as they must arrive.
BODIES: tuple[tuple[bytes, Any], ...] = (
    (b"{}", {}),
    (b"[]", []),
    (b"null", None),
    (b"true", True),
    (b"0", 0),
    (b'""', ""),
    (b"", ""),
    (b"123456789012345678901234567890", 123456789012345678901234567890),
    (b"-0.125", -0.125),
    ('{"naïve": "日本語 \U0001f980"}'.encode(), {"naïve": "日本語 \U0001f980"}),
    (rb'"caf\u00e9 \u2028"', "café \u2028"),
    (b'{"a": {"b": [1, {"c": [[], {}, null]}]}}', {"a": {"b": [1, {"c": [[], {}, None]}]}}),
    (json.dumps({"text": "x" * 1_000_000}).encode(), {"text": "x" * 1_000_000}),
)
# What nobody can decode, or what is another thing than it seems. Each arrives as something.
FOREIGN: tuple[bytes, ...] = (
    b"not JSON",
    b"{",
    b"\xff\xfe\x00\x01",
    b"\x00",
    b"NaN",
    b"[1e999]",
    b"[" * 100_000,
    b"[" * 300 + b"]" * 300,
    rb'"\ud800"',
    rb'{"\u0000": "\u0000"}',
    b"9" * 10_000,
    b'{"$dec": 1}',
    b"<xml/>",
    b"\xef\xbb\xbf{}",
)


@dataclass
class Outgoing:
    """A message to be sent.

    Attributes:
        payload: What goes over the wire.
        id: What tells it from the others; the source must give it as ``Message.id``.
    """

    payload: bytes
    id: str = field(default_factory=lambda: uuid4().hex)


class SourceConformance:
    """Tests that a source must pass. A source of your own is tested by a subclass, whose name begins with Test.

    Each test must find an empty queue, stream or subject of its own: make its name in a fixture, ``autouse=True``. What
    was not acknowledged must come again within ``patience``: configure the broker, and the source, to notice a dead
    consumer within a second or two.

    Attributes:
        topic: The topic that the messages of ``send`` arrive under; not compared where empty.
        patience: Seconds to wait for what must come.
        silence: Seconds to wait for what must not come.
    """

    topic: str = ""
    patience: float = 60.0
    silence: float = 0.5

    # -- what a subclass says

    def make(self) -> Source:
        """Return a new source, not opened, that shares what is sent with the others that this test made."""
        raise NotImplementedError

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Send messages, in their order; return when the broker has them for good."""
        raise NotImplementedError

    def cut(self, source: Source) -> None:
        """Break the connection of an open source, as a network does; its next one must succeed."""
        pytest.skip("this suite does not say how to cut a connection")

    def abandon(self, source: Source) -> None:
        """Let the consumer die: it holds messages, never acknowledges them and says no farewell."""
        pytest.skip("this suite does not say how a consumer dies")

    def restart(self) -> None:
        """Restart the broker, which keeps what it has; return when it answers again."""
        pytest.skip("this suite does not restart its broker")

    # -- what the tests are made of

    @pytest.fixture(autouse=True)
    def _opened(self) -> Any:
        self._sources: list[Source] = []
        yield
        for source in self._sources:
            source.close()

    def opened(self) -> Source:
        """Return a new source, open; it is closed after the test."""
        source = self.make()
        self._sources.append(source)
        source.open()
        return source

    def sent(self, count: int) -> list[Outgoing]:
        """Send so many messages; returns them."""
        messages = [Outgoing(json.dumps({"n": number}).encode()) for number in range(count)]
        self.send(messages)
        return messages

    def fetched(
        self, source: Source, wanted: Sequence[Outgoing], *, most: int = 100, ack: bool = True
    ) -> list[Message]:
        """Fetch until each of these has come at least once, opening the source again whenever it raises."""
        missing = {message.id for message in wanted}
        found: list[Message] = []
        lost: Exception | None = None
        deadline = time.monotonic() + self.patience
        while missing:
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{len(missing)} of {len(wanted)} messages did not come in {self.patience:g} s; "
                    f"raised last: {lost!r}"
                ) from lost
            try:
                batch = source.fetch(most, 1.0)
                assert len(batch) <= most, f"fetch({most}) returned {len(batch)} messages"
                if ack:
                    source.ack(batch)
            except AssertionError:
                raise
            except Exception as error:  # what the batch held comes again
                lost = error
                self.reopen(source)
                continue
            found.extend(batch)
            missing -= {message.id for message in batch}
        return found

    def reopen(self, source: Source) -> None:
        """Close a source and open it again, as soon as it can be."""
        deadline = time.monotonic() + self.patience
        while True:
            source.close()
            try:
                source.open()
                return
            except Exception:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def nothing_comes(self, source: Source) -> None:
        """Assert that nothing comes."""
        came = source.fetch(100, self.silence)
        assert not came, f"came again: {[message.id for message in came]}"

    # -- the tests

    def test_everything_sent_is_fetched_once(self) -> None:
        source = self.opened()
        wanted = self.sent(250)
        found = self.fetched(source, wanted)
        counts = Counter(message.id for message in found)
        assert counts == Counter(message.id for message in wanted)
        bodies = {message.id: message.body for message in found}
        assert [bodies[message.id] for message in wanted] == [{"n": number} for number in range(250)]
        self.nothing_comes(source)

    def test_what_was_sent_before_it_was_opened_comes_too(self) -> None:
        self.opened().close()
        wanted = self.sent(20)
        self.fetched(self.opened(), wanted)

    def test_a_message_tells_its_topic_instant_and_count(self) -> None:
        source = self.opened()
        before = datetime.now(UTC)
        wanted = self.sent(5)
        after = datetime.now(UTC)
        for message in self.fetched(source, wanted):
            assert message.topic, f"no topic: {message!r}"
            assert not self.topic or message.topic == self.topic
            assert message.deliveries == 1
            if message.at is not None:
                assert message.at.tzinfo is not None, f"naive: {message.at!r}"
                # A sender may tell whole seconds.
                assert before - timedelta(seconds=1) <= message.at <= after + timedelta(seconds=1)

    @pytest.mark.parametrize("number", range(len(BODIES)), ids=lambda number: repr(BODIES[number][0][:20]))
    def test_a_body_arrives_as_it_was_sent(self, number: int) -> None:
        payload, body = BODIES[number]
        source = self.opened()
        message = Outgoing(payload)
        self.send([message])
        (found,) = self.fetched(source, [message])
        assert found.body == body
        assert type(found.body) is type(body)

    def test_what_cannot_be_decoded_arrives_as_something_and_stops_nobody(self) -> None:
        source = self.opened()
        wanted = [Outgoing(payload) for payload in FOREIGN]
        last = Outgoing(b'{"last": true}')
        self.send([*wanted, last])
        found = {message.id: message for message in self.fetched(source, [*wanted, last])}
        assert found[last.id].body == {"last": True}
        for message in wanted:
            json.dumps(found[message.id].body)
            json.dumps(dict(found[message.id].headers))
        self.nothing_comes(source)

    def test_fetch_returns_at_most_what_was_asked_for(self) -> None:
        source = self.opened()
        wanted = self.sent(30)
        found = self.fetched(source, wanted, most=7)
        assert Counter(message.id for message in found) == Counter(message.id for message in wanted)

    def test_many_large_messages_arrive(self) -> None:
        source = self.opened()
        wanted = [
            Outgoing(json.dumps({"n": number, "text": "x" * 1_000_000}).encode()) for number in range(12)
        ]
        self.send(wanted)
        found = {message.id: message.body["n"] for message in self.fetched(source, wanted, most=500)}
        assert found == {message.id: number for number, message in enumerate(wanted)}
        self.nothing_comes(source)

    def test_a_single_message_is_not_waited_with(self) -> None:
        source = self.opened()
        (wanted,) = self.sent(1)
        began = time.monotonic()
        batch = source.fetch(500, self.patience)
        assert [message.id for message in batch] == [wanted.id]
        # Well before it would have come anyway.
        assert time.monotonic() - began < self.patience / 2

    def test_nothing_is_fetched_where_nothing_is(self) -> None:
        source = self.opened()
        assert list(source.fetch(10, 0)) == []
        assert list(source.fetch(10, 0.1)) == []

    def test_what_was_acknowledged_does_not_come_again(self) -> None:
        source = self.opened()
        wanted = self.sent(40)
        first, rest = self.fetched(source, wanted[:1], most=1), wanted[1:]
        assert first[0].id == wanted[0].id
        source.close()
        source.open()
        found = self.fetched(source, rest)
        assert Counter(message.id for message in found) == Counter(message.id for message in rest)
        source.close()
        self.nothing_comes(self.opened())

    def test_acknowledging_some_of_a_batch_keeps_the_others(self) -> None:
        source = self.opened()
        wanted = self.sent(9)
        batch = self.fetched(source, wanted, ack=False)
        source.ack(batch[1::2])
        source.close()
        found = self.fetched(self.opened(), [Outgoing(b"", message.id) for message in batch[0::2]])
        assert {message.id for message in found} == {message.id for message in batch[0::2]}

    def test_what_was_not_acknowledged_comes_again_to_another(self) -> None:
        first = self.opened()
        wanted = self.sent(20)
        self.fetched(first, wanted, ack=False)
        first.close()
        found = self.fetched(self.opened(), wanted)
        assert {message.id for message in found} == {message.id for message in wanted}

    def test_a_consumer_that_dies_loses_nothing(self) -> None:
        first = self.opened()
        wanted = self.sent(50)
        self.fetched(first, wanted[:10], most=10, ack=False)
        self.abandon(first)
        self.fetched(self.opened(), wanted)

    def test_what_was_given_back_comes_again(self) -> None:
        source = self.opened()
        wanted = self.sent(10)
        batch = self.fetched(source, wanted, ack=False)
        source.nack(batch[:5])
        source.ack(batch[5:])
        found = self.fetched(source, [Outgoing(b"", message.id) for message in batch[:5]])
        assert {message.id for message in found} == {message.id for message in batch[:5]}
        self.nothing_comes(source)

    def test_what_was_given_back_with_a_delay_comes_after_it(self) -> None:
        source = self.opened()
        wanted = self.sent(2)
        batch = self.fetched(source, wanted, ack=False)
        given_back = time.monotonic()
        source.nack(batch, timedelta(seconds=1.5))
        self.sent(1)  # others do not wait
        found: list[Message] = []
        while len(found) < 3:
            some = source.fetch(100, self.patience)
            assert some, f"did not come again in {self.patience:g} s"
            source.ack(some)
            found.extend(some)
            if {message.id for message in some} & {message.id for message in wanted}:
                assert time.monotonic() - given_back >= 1.5

    def test_a_lost_connection_loses_nothing(self) -> None:
        source = self.opened()
        wanted = self.sent(60)
        batch = self.fetched(source, wanted[:10], most=10, ack=False)
        self.cut(source)
        self._nothing_is_lost(source, batch, wanted)

    def test_a_restart_of_the_broker_in_a_batch_loses_nothing(self) -> None:
        source = self.opened()
        wanted = self.sent(60)
        batch = self.fetched(source, wanted[:10], most=10, ack=False)
        self.restart()
        self._nothing_is_lost(source, batch, wanted)

    def _nothing_is_lost(self, source: Source, batch: Sequence[Message], wanted: Sequence[Outgoing]) -> None:
        more = self.sent(10)
        held = {message.id for message in batch}
        found = self.fetched(source, [*(one for one in wanted if one.id not in held), *more])
        # A source that found its broker again by itself still holds the batch; of any other it has come again.
        source.close()
        left = held - {message.id for message in found}
        self.fetched(self.opened(), [one for one in wanted if one.id in left])

    def test_acknowledging_over_a_connection_that_is_no_more_harms_nobody(self) -> None:
        source = self.opened()
        batch = self.fetched(source, self.sent(10), ack=False)
        self.cut(source)
        self.reopen(source)
        source.ack(batch)
        source.nack(batch)
        self.fetched(source, self.sent(10))

    def test_two_consumers_share_without_loss(self) -> None:
        first, second = self.opened(), self.opened()
        wanted = self.sent(200)
        missing = {message.id for message in wanted}
        found: Counter[str] = Counter()
        deadline = time.monotonic() + self.patience
        while missing:
            assert time.monotonic() < deadline, f"{len(missing)} messages did not come in {self.patience:g} s"
            for source in (first, second):
                batch = source.fetch(10, 0.2)
                source.ack(batch)
                found.update(message.id for message in batch)
                missing -= found.keys()
        assert set(found) == {message.id for message in wanted}

    def test_lag_tells_how_many_wait(self) -> None:
        source = self.opened()
        if source.lag() is None:
            pytest.skip("this source does not tell")
        assert source.lag() == 0
        wanted = self.sent(30)
        deadline = time.monotonic() + self.patience
        while source.lag() != 30 and time.monotonic() < deadline:  # a broker counts when it comes to it
            time.sleep(0.05)
        assert source.lag() == 30
        self.fetched(source, wanted)
        while source.lag() != 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert source.lag() == 0

    def test_history_is_yielded_once_in_order(self) -> None:
        source = self.make()
        if not source.has_history:
            pytest.skip("this source claims no history")
        source = self.opened()
        sent = [self._sent_apart() for _ in range(5)]
        self.fetched(
            source, [message for message, _ in sent]
        )  # what was acknowledged is history all the same
        everything = list(
            source.history(sent[0][1] - timedelta(minutes=1), sent[-1][1] + timedelta(minutes=1))
        )
        assert [message.id for message in everything] == [message.id for message, _ in sent]
        ats = [message.at for message in everything if message.at is not None]
        assert len(ats) == len(everything)
        assert ats == sorted(ats)
        # Half-open: what was sent at the end of an interval is in the next.
        assert [one.id for one in source.history(ats[1], ats[3])] == [everything[1].id, everything[2].id]
        assert [one.id for one in source.history(ats[3], ats[4] + timedelta(minutes=1))] == [
            everything[3].id,
            everything[4].id,
        ]
        assert list(source.history(ats[0] - timedelta(hours=2), ats[0] - timedelta(hours=1))) == []
        # Whoever looks back takes nothing from whoever reads.
        more = self.sent(3)
        assert len(list(source.history(ats[0], ats[4] + timedelta(hours=1)))) == 8
        self.fetched(source, more)

    def _sent_apart(self) -> tuple[Outgoing, datetime]:
        (message,) = self.sent(1)
        at = datetime.now(UTC)
        while datetime.now(UTC) - at < timedelta(milliseconds=5):  # the next has another instant
            pass
        return message, at

    def test_a_closed_source_can_be_closed_and_opened_again(self) -> None:
        source = self.opened()
        source.close()
        source.close()
        with pytest.raises(Exception):  # noqa: B017, PT011  # which one is the source's own affair
            source.fetch(1, 0.1)
        source.open()
        self.fetched(source, self.sent(3))
