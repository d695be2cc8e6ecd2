"""The suite for sources itself: it lets pass a source that is right, and tells each that is wrong in one thing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kck_flow.message import Message, Source
from kck_flow.sources.reading import decoded
from kck_flow.testing.sources import Outgoing, SourceConformance


class Queue:
    """A broker in this process: a queue, of which consumers hold some."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, int, Message]] = []
        self.kept: list[Message] = []
        self.changed = threading.Condition()
        self.number = 0

    def put(self, message: Message, due: float = 0.0) -> None:
        with self.changed:
            self.number += 1
            self.waiting.append((due, self.number, message))
            self.changed.notify_all()


class Own(Source):
    """A source over it, that may be wrong in one thing."""

    def __init__(self, queue: Queue, fault: str = "") -> None:
        self.queue, self.fault = queue, fault
        self.held: dict[int, Message] | None = None

    def open(self, position: Any = None) -> None:
        self.held = {}

    def fetch(self, most: int, timeout: float) -> Sequence[Message]:
        if self.held is None:
            raise ConnectionError("not open")
        deadline = time.monotonic() + timeout
        queue = self.queue
        with queue.changed:
            while True:
                now = time.monotonic()
                ready = [one for one in queue.waiting if one[0] <= now]
                if self.fault == "waits for a full batch" and len(ready) < most and now < deadline:
                    ready = []
                if ready or now >= deadline:
                    break
                queue.changed.wait(min([deadline, *(due for due, _, _ in queue.waiting if due > now)]) - now)
            if self.fault != "takes more":
                ready = ready[:most]
            for one in ready:
                queue.waiting.remove(one)
        batch = []
        for _, number, message in ready:
            message.receipt = number
            self.held[number] = message
            batch.append(message)
        if self.fault == "acknowledges at once":
            self.held.clear()
        if self.fault == "drops the last" and len(batch) > 1:
            del self.held[batch.pop().receipt]
        return batch

    def ack(self, batch: Sequence[Message]) -> None:
        assert self.held is not None
        if self.fault == "does not acknowledge":
            return
        if self.fault == "acknowledges all":
            self.held.clear()
        for message in batch:
            self.held.pop(message.receipt, None)

    def nack(self, batch: Sequence[Message], delay: timedelta = timedelta(0)) -> None:
        assert self.held is not None
        if self.fault == "knows no delay":
            delay = timedelta(0)
        for message in batch:
            if self.held.pop(message.receipt, None) is not None and self.fault != "gives nothing back":
                message.deliveries += 1
                self.queue.put(message, time.monotonic() + delay.total_seconds())

    def lag(self) -> int:
        assert self.held is not None
        return len(self.queue.waiting) + len(self.held) + (self.fault == "counts one more")

    def history(self, since: datetime, until: datetime) -> Iterable[Message]:
        for message in self.queue.kept:
            assert message.at is not None
            if since <= message.at < until or (self.fault == "includes the end" and message.at == until):
                yield message

    def close(self) -> None:
        held, self.held = self.held, None
        if self.fault != "closes with what it holds":
            for message in (held or {}).values():
                message.deliveries += 1
                self.queue.put(message)


class Suite(SourceConformance):
    """The suite over it."""

    topic, patience, silence = "t", 1.0, 0.2

    def __init__(self, fault: str = "") -> None:
        self.fault, self.queue = fault, Queue()
        self._sources = []

    def make(self) -> Own:
        return Own(self.queue, self.fault)

    def send(self, messages: Sequence[Outgoing]) -> None:
        for sent in messages:
            body, _ = decoded(sent.payload)
            if self.fault == "spoils large bodies" and len(sent.payload) > 100_000:
                body = {}
            at = datetime.now(UTC)
            if self.fault == "tells naive instants":
                at = at.replace(tzinfo=None)
            topic = "other" if self.fault == "calls it otherwise" else "t"
            number = "same" if self.fault == "forgets ids" else sent.id
            message = Message(topic, body, number, at)
            self.queue.kept.append(message)
            self.queue.put(message)

    def cut(self, source: Own) -> None:
        held, source.held = source.held, None
        for message in (held or {}).values():
            self.queue.put(message)

    abandon = cut

    def restart(self) -> None:
        if self.fault == "forgets what waits":
            self.queue.waiting.clear()


TESTS = [name for name in dir(SourceConformance) if name.startswith("test_")]


def run(name: str, suite: Suite) -> None:
    if name == "test_a_body_arrives_as_it_was_sent":
        suite.test_a_body_arrives_as_it_was_sent(12)
    else:
        getattr(suite, name)()


@pytest.mark.parametrize("name", TESTS)
def test_a_source_that_is_right_passes(name: str) -> None:
    suite = Suite()
    suite.patience = 20.0
    run(name, suite)


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ("acknowledges at once", "test_what_was_not_acknowledged_comes_again_to_another"),
        ("acknowledges at once", "test_a_consumer_that_dies_loses_nothing"),
        ("acknowledges at once", "test_a_lost_connection_loses_nothing"),
        ("acknowledges all", "test_acknowledging_some_of_a_batch_keeps_the_others"),
        ("does not acknowledge", "test_what_was_acknowledged_does_not_come_again"),
        ("drops the last", "test_everything_sent_is_fetched_once"),
        ("drops the last", "test_two_consumers_share_without_loss"),
        ("forgets ids", "test_everything_sent_is_fetched_once"),
        ("takes more", "test_fetch_returns_at_most_what_was_asked_for"),
        ("waits for a full batch", "test_a_single_message_is_not_waited_with"),
        ("gives nothing back", "test_what_was_given_back_comes_again"),
        ("knows no delay", "test_what_was_given_back_with_a_delay_comes_after_it"),
        ("closes with what it holds", "test_what_was_not_acknowledged_comes_again_to_another"),
        ("forgets what waits", "test_a_restart_of_the_broker_in_a_batch_loses_nothing"),
        ("spoils large bodies", "test_a_body_arrives_as_it_was_sent"),
        ("calls it otherwise", "test_a_message_tells_its_topic_instant_and_count"),
        ("tells naive instants", "test_a_message_tells_its_topic_instant_and_count"),
        ("counts one more", "test_lag_tells_how_many_wait"),
        ("includes the end", "test_history_is_yielded_once_in_order"),
    ],
)
def test_a_source_that_is_wrong_is_told(fault: str, name: str) -> None:
    with pytest.raises(AssertionError):
        run(name, Suite(fault))
