"""From a broker to the log: whoever dies on the way, and whatever comes twice, each message is there exactly once."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from kck_flow.models import Outbox
from kck_flow.testing.sources import Outgoing
from tests.harness.processes import Crew
from tests.harness.wait import until
from tests.sources.bridging import POINTS, bring
from tests.sources.senders import send_amqp, send_nats, send_redis

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once("oldest")]


@dataclass
class Bus:
    """A broker with one queue, and how the source is configured that reads it."""

    options: dict[str, Any]
    send: Callable[[Sequence[Outgoing]], None]

    @property
    def env(self) -> dict[str, str]:
        return {
            "DJANGO_SETTINGS_MODULE": "tests.sources.settings",
            "KCK_TEST_SOURCES": json.dumps({"bus": self.options}),
        }


@pytest.fixture(
    params=[
        pytest.param("amqp", marks=pytest.mark.needs_rabbitmq),
        pytest.param("redis", marks=pytest.mark.needs_redis),
        pytest.param("nats", marks=pytest.mark.needs_nats),
    ]
)
def bus(request: pytest.FixtureRequest) -> Bus:
    name = f"bus-{uuid4().hex}"
    if request.param == "amqp":
        url = request.getfixturevalue("rabbitmq_broker").url
        send_amqp(url, name, [], declare=name)
        options = {"source": "kck_flow.sources.amqp.AMQP", "url": url, "queue": name}
        return Bus({**options, "topics": {name: "bridged"}}, lambda messages: send_amqp(url, name, messages))
    if request.param == "redis":
        url = request.getfixturevalue("redis_server").url
        options = {
            "source": "kck_flow.sources.redis_streams.RedisStreams",
            "url": url,
            "stream": name,
            "id": "id",
        }
        return Bus(
            {**options, "topics": {name: "bridged"}, "claim_after": 1},
            lambda messages: send_redis(url, name, messages),
        )
    url = request.getfixturevalue("nats").url
    # The server would leave out by itself what comes twice within this time.
    send_nats(url, name, [], stream=name, duplicate_window=0.1)
    options = {"source": "kck_flow.sources.nats.NATS", "url": url, "stream": name, "ack_wait": 1}
    return Bus({**options, "topics": {name: "bridged"}}, lambda messages: send_nats(url, name, messages))


def shuffled(draw: random.Random, count: int) -> tuple[list[Outgoing], list[Outgoing]]:
    """Return messages; and how they are sent: 30 % of them twice, and none in its order."""
    messages = [Outgoing(json.dumps({"n": number}).encode(), f"m{number}") for number in range(count)]
    sent = [*messages, *draw.sample(messages, count * 3 // 10)]
    draw.shuffle(sent)
    return messages, sent


def test_each_message_is_in_the_log_once_whoever_is_killed_wherever(bus: Bus, crew: Crew) -> None:
    draw = random.Random(3)
    messages, sent = shuffled(draw, 600)
    bus.send(sent[:400])
    kept_before = []
    for number, point in enumerate(POINTS):
        child = crew.spawn(bring, "bus", point, 1 + number % 2, 10**9, env=bus.env)
        child.wait_for(point)
        kept_before.append(Outbox.objects.count())
        child.kill()
    assert kept_before[0] == 0, "fetched only"
    assert kept_before[2] > kept_before[1], "committed, and not acknowledged"
    bus.send(sent[400:])
    helpers = [crew.spawn(bring, "bus", "never", 0, 600, env=bus.env) for _ in range(2)]
    for helper in helpers:
        helper.result(limit=90)
    rows = list(Outbox.objects.values_list("source", "topic", "message_id", "body"))
    assert Counter(row[2] for row in rows) == Counter(message.id for message in messages)
    assert {row[:2] for row in rows} == {("bus", "bridged")}
    assert {row[2]: row[3] for row in rows} == {f"m{number}": {"n": number} for number in range(600)}


def test_a_killed_consumer_counts_each_message_once(bus: Bus, crew: Crew) -> None:
    from kck_flow import Cache
    from kck_flow.registry import registry
    from tests.sources.primers import Bridged

    draw = random.Random(5)
    _messages, sent = shuffled(draw, 500)
    registry.register(Bridged)
    try:
        consumer = crew.manage("kck", "consume", env=bus.env)
        for begin in range(0, len(sent), 130):
            there = Outbox.objects.count()
            bus.send(sent[begin : begin + 130])
            until(lambda there=there: Outbox.objects.count() > there, "something to be brought", limit=60)
            consumer.kill()
            consumer = crew.manage("kck", "consume", env=bus.env)
        until(lambda: Outbox.objects.count() == 500, "all to be brought", limit=60)
        cache = Cache.get_instance()
        until(lambda: cache.get("bridged", default=0) == sum(range(500)), "all to be counted", limit=60)
        consumer.wait_for("source.opened")  # the one before it may have done it all
        assert consumer.stop() == 0, consumer.output
        assert Outbox.objects.count() == 500
    finally:
        registry.withdraw(Bridged)
