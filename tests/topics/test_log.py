"""The log: what sources bring, and what is deleted from it. Rows 182, 185, 200; law 9."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import F

from kck_flow import Cache, Message, Source, Topic
from kck_flow.errors import KckFlowError
from kck_flow.models import Cursor, Outbox
from kck_flow.streams import intake, topics
from kck_flow.streams.log import append, send, send_many
from kck_flow.testing import registered
from tests.harness.wait import until

pytestmark = pytest.mark.django_db(transaction=True)
T0 = datetime(2026, 3, 1, 10, tzinfo=UTC)


class Counted(Topic):
    """All messages of two topics, by hour."""

    key_base = "counted_messages"
    topics = ["m", "unreadable"]
    window = "1h"


class Broker(Source):
    """A queue in this process: what is not acknowledged comes again."""

    name = "broker"

    def __init__(self, waiting: deque[Message]) -> None:
        self.waiting = waiting
        self.out: list[Message] = []
        self.acked: list[str] = []
        self.failing = 0

    def open(self, position: Any = None) -> None:
        self.waiting.extendleft(reversed(self.out))
        self.out = []

    def fetch(self, most: int, timeout: float) -> Sequence[Message]:
        if self.failing:
            self.failing -= 1
            raise OSError("gone")
        self.out = [self.waiting.popleft() for _ in range(min(most, len(self.waiting)))]
        return list(self.out)

    def ack(self, batch: Sequence[Message]) -> None:
        self.acked += [one.id for one in batch]
        self.out = []

    def nack(self, batch: Sequence[Message], delay: timedelta = timedelta(0)) -> None:
        self.open()


@pytest.fixture
def topic() -> Iterator[Topic]:
    with registered(Counted) as (one,):
        assert isinstance(one, Topic)
        yield one


def bridged(source: Broker, enough: Any) -> None:
    stopping = threading.Event()
    bridge = intake.Bridge("broker", lambda: source, ["default"], stopping)
    bridge.start()
    until(enough, "the source to be read")
    stopping.set()
    bridge.join(20)
    assert not bridge.is_alive()


def test_what_a_source_brings_is_acknowledged_after_the_commit(topic: Topic) -> None:
    sent = [Message("m", n, f"m{n}", T0) for n in range(1200)]
    source = Broker(deque([*sent, *sent[:300]]))
    source.failing = 2
    bridged(source, lambda: len(source.acked) == 1500)
    assert Outbox.objects.count() == 1200
    topics.drain()
    assert Cache.get_instance().get("counted_messages/2026-03-01T10") == 1200
    assert Cursor.objects.get(reader="source:broker").messages == 1200


def test_a_message_that_cannot_be_kept_leaves_its_place_to_one_that_says_so(topic: Topic) -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    sent = [
        Message("m", 1, "a", T0),
        Message("m", deep, "b", T0),
        Message("", 2, "c", T0),
        Message("m", 3, "d", T0),
    ]
    source = Broker(deque(sent))
    bridged(source, lambda: len(source.acked) == 4)
    found = {one.message_id: (one.topic, one.body) for one in Outbox.objects.all()}
    assert found == {
        "a": ("m", 1),
        "b": ("m", None),
        "c": ("unreadable", None),
        "d": ("m", 3),
    }
    assert "unreadable" in Outbox.objects.get(message_id="b").headers


def test_no_message_that_a_topic_still_needs_is_deleted_law_9(topic: Topic, capsys: Any) -> None:
    send_many([Message("m", 1, f"m{n}", T0 + timedelta(minutes=n)) for n in range(30)])
    Outbox.objects.update(received_at=F("received_at") - timedelta(days=9))
    call_command("kck", "prune")
    assert Outbox.objects.count() == 30  # no topic has begun: nobody knows what it will need
    topics.begin(topic)
    topics.turn(topic, 0, limit=10)
    call_command("kck", "prune")
    assert Outbox.objects.count() == 30  # in the middle of a round
    topics.drain()
    send("m", 1, id="new", at=T0)
    call_command("kck", "prune", "--dry-run", "--format", "json")
    assert '"what": "messages", "product": "", "rows": 30, "deleted": 0' in capsys.readouterr().out
    call_command("kck", "prune")
    assert [one.message_id for one in Outbox.objects.all()] == ["new"]
    topics.drain()
    assert Cache.get_instance().get("counted_messages/2026-03-01T10") == 31
    with pytest.raises(KckFlowError, match="not in the log any more"):
        topics.rewind(topic, T0)
    assert Cache.get_instance().get("counted_messages/2026-03-01T10") == 31
    topics.rewind(topic, T0 + timedelta(hours=2))
    # What comes again so late cannot be known any more, and is refused.
    naive = Message("m", 1, "no zone", T0.replace(tzinfo=None))
    source = Broker(
        deque([Message("m", 1, "m3", T0), naive, Message("m", 1, "later", T0 + timedelta(hours=3))])
    )
    bridged(source, lambda: len(source.acked) == 3)
    topics.drain()
    assert Cache.get_instance().get("counted_messages/2026-03-01T13") == 1
    assert Cursor.objects.get(reader="source:broker").refused == 1


def test_what_a_topic_goes_back_to_meanwhile_is_not_deleted(topic: Topic, threads: Any) -> None:
    send_many([Message("m", 1, f"m{n}", T0) for n in range(5)])
    topics.drain()
    Outbox.objects.update(received_at=F("received_at") - timedelta(days=9))
    begun = threading.Event()

    def pruned() -> None:
        begun.set()
        call_command("kck", "prune")

    with transaction.atomic():
        topics.rewind(topic, T0)
        thread = threads(pruned)
        assert begun.wait(20)
        until(lambda: queued() or not thread.is_alive(), "prune to wait, or to be done with it")
    thread.result()
    assert topics.drain() == 5
    assert Cache.get_instance().get("counted_messages/2026-03-01T10") == 5


def queued() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return int(cursor.fetchone()[0])


def test_what_was_there_for_some_topics_is_for_all_once_it_comes_for_all(topic: Topic) -> None:
    sent = [Message("m", n, f"m{n}", T0) for n in range(6)]
    assert append("default", "s", sent[:4], ["another"]) == 4
    assert append("default", "s", sent[:2], ["a_third"]) == 0
    assert append("default", "s", sent[1:]) == 2
    assert [one.audience for one in Outbox.objects.order_by("id")] == [["another", "a_third"], *[None] * 5]
    topics.drain()
    assert Cache.get_instance().get("counted_messages/2026-03-01T10") == 5


def test_a_transaction_that_is_open_keeps_what_it_may_have_sent_before(topic: Topic, threads: Any) -> None:
    written, end = threading.Event(), threading.Event()

    def late() -> None:
        with transaction.atomic():
            send("m", 1, id="late", at=T0)
            written.set()
            assert end.wait(20)

    thread = threads(late)
    assert written.wait(20)
    send("m", 1, id="early", at=T0)
    topics.drain()
    Outbox.objects.update(received_at=F("received_at") - timedelta(days=9))
    call_command("kck", "prune")
    assert Outbox.objects.count() == 1
    end.set()
    thread.result()
    topics.drain()
    assert Cache.get_instance().get("counted_messages/2026-03-01T10") == 2
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()")
    send("m", 1, id="another", at=T0)
    topics.drain()
    Outbox.objects.update(received_at=F("received_at") - timedelta(days=9))
    call_command("kck", "prune")
    assert Outbox.objects.count() <= 1
