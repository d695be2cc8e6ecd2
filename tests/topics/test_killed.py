"""Consumers that are killed, in the middle of whatever they do, lose nothing and count nothing twice. Rows 182 to 186,
197 and 198.
"""

from __future__ import annotations

import json
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kck_flow import Cache, Message
from kck_flow.models import Cursor, Held, Outbox
from kck_flow.streams.log import send_many
from tests.harness.wait import until
from tests.shop.models import Author

pytestmark = pytest.mark.django_db(transaction=True)
T0 = datetime(2026, 3, 1, 10, tzinfo=UTC)
ENV = {"DJANGO_SETTINGS_MODULE": "tests.topics.settings"}
KILLS = 100
# So many may wait at a time: more is sent as fast as it is handled, on whatever machine.
BACKLOG = 2000


@pytest.fixture
def declared() -> Any:
    """The topics, in this process, too: it reads what they come to."""
    from kck_flow.registry import registry
    from tests.topics import primers

    classes = [primers.Sums, primers.Orders, primers.Rows, primers.Slow]
    for one in classes:
        registry.register(one)
    yield
    for one in classes:
        registry.withdraw(one)


def drained(crew: Any, limit: float = 120) -> None:
    last = crew.manage("kck", "consume", "--once", env=ENV)
    assert last.wait(limit=limit) == 0, last.output


def handled(key_base: str) -> int:
    return sum(Cursor.objects.filter(reader=key_base).values_list("messages", flat=True))


@pytest.mark.slow
@pytest.mark.once("oldest")
def test_a_hundred_kills_with_every_message_sent_twice_and_shuffled_row_183(crew: Any, declared: Any) -> None:
    draw = random.Random(4)
    cache = Cache.get_instance()
    sent: list[Message] = []
    waiting: list[Message] = []
    consumers = [crew.manage("kck", "consume", env=ENV) for _ in range(3)]
    number = kills = 0
    try:
        while kills < KILLS:
            if number - min(map(handled, ("sums", "in_order", "rows_written"))) < BACKLOG:
                fresh = []
                for _ in range(60):
                    # Of one key in its order; in time shuffled within the lateness; and each a second time, later.
                    moment = T0 + timedelta(seconds=number * 0.7 + draw.uniform(-290, 0))
                    body = {"n": number, "k": number % 7}
                    fresh.append(Message("numbers", body, f"m{number}", moment, f"k{number % 7}"))
                    number += 1
                sent += fresh
                again = draw.sample(waiting, min(len(waiting), 60))
                waiting = [one for one in waiting if one not in again] + fresh
                send_many(fresh[:30])
                send_many([*again, *fresh[30:]] if draw.random() < 0.5 else [*fresh[30:], *again])
            time.sleep(draw.random() * 0.15)
            # Whoever has come so far as to handle something is killed, wherever it is.
            place = draw.randrange(len(consumers))
            if "consumer ·" in consumers[place].output:
                time.sleep(draw.random() * 0.1)
                consumers[place].kill()
                kills += 1
                consumers[place] = crew.manage("kck", "consume", env=ENV)
    finally:
        for one in consumers:
            one.kill()
    under_fire = handled("sums")
    send_many(waiting)
    drained(crew)
    assert under_fire > 0
    assert number >= BACKLOG
    assert Outbox.objects.count() == len(sent) == number
    for size, window in (("1m", timedelta(minutes=1)), ("1h", timedelta(hours=1))):
        end = max(message.at for message in sent) + window  # type: ignore[type-var, operator]
        points = cache.series("sums", T0 - timedelta(hours=1), end, by=size)
        assert sum(point.value for point in points) == sum(range(number))
        for point in points:
            own = [m.body["n"] for m in sent if m.at is not None and point.start <= m.at < point.end]
            assert point.value == sum(own), point
    for k in range(7):
        numbers = list(range(k, number, 7))
        assert cache.get(f"in_order/{k}") == {
            "last": numbers[-1], "count": len(numbers), "sum": sum(numbers), "wrong": 0,
        }  # fmt: skip
    assert cache.get("rows_written") == Author.objects.count() == number
    assert Author.objects.values("name").distinct().count() == number
    assert not Held.objects.exists()


def test_a_window_is_kept_over_a_restart_row_184(crew: Any, declared: Any) -> None:
    cache = Cache.get_instance()
    messages = [
        Message("numbers", {"n": 1, "k": 0}, f"m{n}", T0 + timedelta(seconds=n / 100)) for n in range(900)
    ]
    send_many(messages[:600])
    first = crew.manage("kck", "consume", "--topics", "sums", env=ENV)
    until(lambda: handled("sums") == 600, "600 messages to be handled")
    assert first.stop() == 0, first.output
    second = crew.manage("kck", "consume", "--topics", "sums", env=ENV)
    send_many(messages[600:])
    until(lambda: handled("sums") == 900, "900 messages to be handled")
    assert cache.get("sums/1h/2026-03-01T10") == 900
    second.kill()


def test_four_consumers_split_a_stream_and_keep_the_order_of_each_key_row_198(
    crew: Any, declared: Any
) -> None:
    cache = Cache.get_instance()
    consumers = [crew.manage("kck", "consume", "--topics", "in_order", env=ENV) for _ in range(4)]
    for one in consumers:
        one.wait_for("consumer ·")
    for first in range(0, 3000, 50):
        send_many(
            [
                Message("numbers", {"n": n, "k": n % 11}, f"m{n}", T0 + timedelta(seconds=n), f"k{n % 11}")
                for n in range(first, first + 50)
            ]
        )
    until(lambda: handled("in_order") == 3000, "all to be handled", limit=60)
    for k in range(11):
        numbers = list(range(k, 3000, 11))
        assert cache.get(f"in_order/{k}") == {
            "last": numbers[-1], "count": len(numbers), "sum": sum(numbers), "wrong": 0,
        }  # fmt: skip
    for one in consumers:
        assert one.stop() == 0, one.output
    said = [line.split() for one in consumers for line in one.output.splitlines() if "handled" in line]
    assert sum(int(words[0].replace(",", "")) for words in said) == 3000


def test_a_consumer_that_stands_still_in_a_batch_loses_it(crew: Any, declared: Any) -> None:
    cache = Cache.get_instance()
    flow = {"KCK_TEST_FLOW": json.dumps({"FLUSH_INTERVAL": 0.01, "HANDLER_TIMEOUT": 1})}
    send_many([Message("numbers", {"n": 1, "k": 0}, f"m{n}", T0) for n in range(4000)])
    consumers = [
        crew.manage("kck", "consume", "--topics", "rows_written", env={**ENV, **flow}) for _ in range(2)
    ]
    for one in consumers:
        one.wait_for("consumer ·")
    until(lambda: handled("rows_written") > 0, "some to be handled", limit=60)
    consumers[0].pause()
    until(lambda: handled("rows_written") == 4000, "the other to handle the rest", limit=90)
    consumers[0].resume()
    send_many([Message("numbers", {"n": 1, "k": 0}, "last", T0)])
    until(lambda: handled("rows_written") == 4001, "the last one to be handled", limit=60)
    assert cache.get("rows_written") == Author.objects.count() == 4001
    for one in consumers:
        assert one.stop() == 0, one.output


def test_what_waits_to_be_enriched_survives_a_kill_row_197(crew: Any, declared: Any) -> None:
    cache = Cache.get_instance()
    send_many([Message("lookups", n, f"m{n}", T0) for n in range(300)])
    first = crew.manage("kck", "consume", "--topics", "slowly", env=ENV)
    until(lambda: 0 < Held.objects.filter(state="waiting").count() < 250, "some to be enriched")
    first.kill()
    left = Held.objects.count()
    assert left > 0
    # What it had in hand is taken up by others once its lease is over.
    Held.objects.update(lease_until=None)
    drained(crew)
    assert [cache.get(f"slowly/n{n}") for n in range(3)] == [100, 100, 100]
    assert not Held.objects.exists()
