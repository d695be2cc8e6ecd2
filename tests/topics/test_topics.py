"""Topics: messages become products, once each. Rows 181 to 186, 189 to 193."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from kck_flow import Cache, IntegerParameter, Message, StringParameter, Topic
from kck_flow.errors import InvalidKey, NotPrimed, UnstorableValue
from kck_flow.models import Cursor, Held, Outbox
from kck_flow.registry import registry
from kck_flow.store import held
from kck_flow.store.session import caller
from kck_flow.streams import enriching, topics
from kck_flow.streams.log import append, send, send_many
from tests.shop.models import Author

pytestmark = pytest.mark.django_db(transaction=True)
T0 = datetime(2026, 3, 1, 10, tzinfo=UTC)


def at(**more: float) -> datetime:
    return T0 + timedelta(**more)


def orders(number: int, *, shops: int = 3, minutes: float = 120, seed: int = 1) -> list[Message]:
    draw = random.Random(seed)
    return [
        Message(
            "orders.paid", {"shop": n % shops, "cents": n}, f"o{n}", at(seconds=draw.random() * minutes * 60)
        )
        for n in range(number)
    ]


class Cents(Topic):
    topics = ["orders.*"]

    def process(self, state: Any, message: Message) -> Any:
        return state + message.body["cents"]


def test_messages_are_counted_once_whatever_comes_twice_rows_181_185(cache: Cache, declare: Any) -> None:
    declare.register(type("Orders", (Topic,), {"key_base": "orders_all", "topics": ["orders.*"]}))
    with pytest.raises(NotPrimed, match="kck consume"):
        cache.get("orders_all")
    topics.drain(["orders_all"])
    assert cache.get("orders_all") == 0
    assert send("orders.paid", {"shop": 1}, id="a") is True
    assert send("orders.paid", {"shop": 1}, id="a") is False
    send("orders.sent", {"shop": 2}, id="b")
    send("other", {"shop": 2}, id="c")
    assert topics.drain(["orders_all"]) == 2
    assert cache.get("orders_all") == 2
    assert append("default", "broker", [Message("orders.paid", {}, "a")] * 2) == 1  # of another source
    assert topics.drain(["orders_all"]) == 1
    assert topics.drain(["orders_all"]) == 0
    entry = cache.get_entry("orders_all")
    assert (entry.value, entry.version, entry.state) == (3, 2, "fresh")


def test_a_message_that_its_transaction_takes_back_was_never_sent(cache: Cache, declare: Any) -> None:
    declare.register(type("Orders", (Topic,), {"key_base": "orders_all", "topics": ["orders.*"]}))
    with transaction.atomic():
        send("orders.paid", 1, id="x")
        transaction.set_rollback(True)
    topics.drain()
    assert Outbox.objects.count() == 0
    assert send("orders.paid", 1, id="x") is True
    topics.drain()
    assert cache.get("orders_all") == 1


def test_a_transaction_that_ends_late_is_not_passed_over(cache: Cache, declare: Any, threads: Any) -> None:
    import threading

    declare.register(type("Orders", (Topic,), {"key_base": "orders_all", "topics": ["orders.*"]}))
    topics.drain()
    written, end = threading.Event(), threading.Event()

    def late() -> None:
        with transaction.atomic():
            send("orders.paid", 1, id="late")
            written.set()
            assert end.wait(20)

    thread = threads(late)
    assert written.wait(20)
    for n in range(5):
        send("orders.paid", 1, id=f"early{n}")
        topics.drain()
    assert cache.get("orders_all") == 5
    end.set()
    thread.result()
    topics.drain()
    assert cache.get("orders_all") == 6
    send("orders.paid", 1, id="after")
    topics.drain()
    assert cache.get("orders_all") == 7


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_windows_of_several_sizes_from_one_pass_in_any_order_rows_20_186(
    cache: Cache, declare: Any, batch: int
) -> None:
    declare.register(
        type(
            "Cents",
            (Cents,),
            {
                "key_base": "cents_by_shop",
                "parameters": [IntegerParameter("shop")],
                "windows": ["1m", "1h", "1d"],
                "tz": "Europe/Berlin",
                "batch": batch,
            },
        )
    )
    sent = orders(200)
    twice = [*sent, *sent]
    random.Random(2).shuffle(twice)
    for first in range(0, len(twice), 33):
        send_many(twice[first : first + 33])
        topics.drain()
    for shop in range(3):
        total = sum(m.body["cents"] for m in sent if m.body["shop"] == shop)
        assert cache.get(f"cents_by_shop/{shop}/1d/2026-03-01") == total
        for size, count in (("1m", 120), ("1h", 2)):
            points = cache.series(f"cents_by_shop/{shop}", T0, at(hours=2), by=size)
            assert len(points) == count
            assert sum(point.value for point in points) == total
            assert all(point.complete for point in points)
            for point in points:
                own = [
                    m.body["cents"]
                    for m in sent
                    if m.body["shop"] == shop and point.start <= m.at < point.end
                ]
                assert point.value == sum(own)
    with pytest.raises(InvalidKey, match="The window around it is 'cents_by_shop/1/1h/2026-03-01T10'"):
        cache.get("cents_by_shop/1/1h/2026-03-01T10:30")
    with pytest.raises(InvalidKey, match="names no window"):
        cache.get("cents_by_shop/1/1h")


def test_a_handler_that_fails_disturbs_nothing_and_parks_its_message_row_193(
    cache: Cache, declare: Any
) -> None:
    class Picky(Topic):
        key_base = "picky"
        topics = ["orders.*"]
        window = "hour"
        retries = 0
        batch = 500

        def initial(self) -> Any:
            return {"n": 0, "seen": []}

        def process(self, state: Any, message: Message) -> Any:
            state["seen"].append(message.body["cents"])
            message.body["cents"] = "spoilt"
            if int(message.id[1:]) % 100 == 3:
                raise ValueError(f"no {message.id}")
            state["n"] += 1

    class Plain(Cents):
        key_base = "plain_cents"

    declare.register(Picky)
    declare.register(Plain)
    sent = orders(1000, minutes=180)
    send_many(sent)
    topics.drain()
    good = [m for m in sent if int(m.id[1:]) % 100 != 3]
    found = [cache.get(f"picky/2026-03-01T{hour}") for hour in (10, 11, 12)]
    assert sum(one["n"] for one in found) == len(good) == 990
    assert sorted(cents for one in found for cents in one["seen"]) == sorted(m.body["cents"] for m in good)
    assert cache.get("plain_cents") == sum(m.body["cents"] for m in sent)
    assert Held.objects.filter(key_base="picky", state="parked").count() == 10
    one = Held.objects.filter(key_base="picky").earliest("id")
    assert one.error == f"ValueError: no {one.message_id}"
    assert "raise ValueError" in one.traceback
    # Mended, and tried again.
    Picky.process = lambda self, state, message: {**state, "n": state["n"] + 1}  # type: ignore[method-assign]
    assert held.retry(caller("default"), "picky", enriches=False) == 10
    topics.drain()
    assert sum(cache.get(f"picky/2026-03-01T{hour}")["n"] for hour in (10, 11, 12)) == 1000
    assert not Held.objects.exists()


def test_what_a_failing_handler_wrote_is_taken_back(cache: Cache, declare: Any) -> None:
    class Writing(Topic):
        key_base = "writing"
        topics = ["authors"]
        retries = 0

        def process(self, state: Any, message: Message) -> Any:
            Author.objects.create(name=message.id)
            if message.body == "bad":
                Author.objects.create(pk=Author.objects.first().pk, name="twice")  # type: ignore[union-attr]
            return state + 1

    declare.register(Writing)
    send_many([Message("authors", "bad" if n == 4 else "good", f"m{n}") for n in range(9)])
    topics.drain()
    assert cache.get("writing") == 8
    assert sorted(Author.objects.values_list("name", flat=True)) == sorted(
        f"m{n}" for n in range(9) if n != 4
    )


def test_a_state_that_cannot_be_stored_is_one_message_s_fault(cache: Cache, declare: Any) -> None:
    class Odd(Topic):
        key_base = "odd_states"
        retries = 0

        def initial(self) -> Any:
            return []

        def process(self, state: Any, message: Message) -> Any:
            state.append(object() if message.body == 3 else message.body)

    declare.register(Odd)
    send_many([Message("odd_states", n, f"m{n}") for n in range(6)])
    topics.drain()
    assert cache.get("odd_states") == [0, 1, 2, 4, 5]
    assert Held.objects.get().message_id == "m3"


def test_a_topic_goes_back_and_comes_to_the_same_row_191(cache: Cache, declare: Any) -> None:
    made = {"key_base": "rewound", "topics": ["orders.*"], "windows": ["1m", "1h"], "batch": 50}
    topic = declare.register(type("Rewound", (Cents,), made))
    sent = orders(300)
    send_many(sent)
    topics.drain()
    before = [cache.series("rewound", T0, at(hours=2), by=size) for size in ("1m", "1h")]
    entry = cache.get_entry("rewound/1h/2026-03-01T11")
    topics.rewind(topic, at(minutes=75))
    assert cache.get("rewound/1h/2026-03-01T10") == before[1][0].value
    assert cache.get("rewound/1h/2026-03-01T11") == 0
    # One more batch, then back again in the middle, and a late one from before.
    assert topics.turn(topic, 0).more is True
    topics.rewind(topic, at(minutes=90))
    send("orders.paid", {"cents": 5}, id="late", at=at(minutes=1))
    topics.drain()
    after = [cache.series("rewound", T0, at(hours=2), by=size) for size in ("1m", "1h")]
    assert [p.value for p in after[1]] == [before[1][0].value + 5, before[1][1].value]
    assert after[0][1].value == before[0][1].value + 5
    assert [p.value for p in after[0][2:]] == [p.value for p in before[0][2:]]
    assert cache.get_entry("rewound/1h/2026-03-01T11").version > entry.version
    assert Cursor.objects.get(reader="rewound").position["until"] is None


def test_a_topic_goes_back_that_has_lost_a_size_of_its_windows(
    cache: Cache, declare: Any, caplog: Any
) -> None:
    made = {"key_base": "lost_a_size", "topics": ["orders.*"], "windows": ["1m", "1h"]}
    first = declare.register(type("LostASize", (Cents,), made))
    send_many(orders(20))
    topics.drain()
    minute = next(point for point in cache.series("lost_a_size", T0, at(hours=2), by="1m") if point.value)
    hours = [point.value for point in cache.series("lost_a_size", T0, at(hours=2), by="1h")]
    registry.withdraw(type(first))
    topic = declare.register(type("LostASize", (Cents,), {**made, "windows": ["1h", "1d"]}))
    topics.rewind(topic, T0)
    assert "topic.left family=lost_a_size" in caplog.text
    topics.drain()
    assert [point.value for point in cache.series("lost_a_size", T0, at(hours=2), by="1h")] == hours
    assert cache.get("lost_a_size/1d/2026-03-01") == sum(hours)
    # Had it been taken out by mistake, what was counted is there still.
    registry.withdraw(type(topic))
    declare.register(type("LostASize", (Cents,), made))
    assert minute in cache.series("lost_a_size", T0, at(hours=2), by="1m")


def test_nothing_from_before_the_epoch_is_counted_rows_189_190(cache: Cache, declare: Any) -> None:
    now = datetime.now(UTC)
    declare.register(
        type("A", (Topic,), {"key_base": "since_epoch", "topics": ["m"], "epoch": now - timedelta(hours=2)})
    )
    declare.register(
        type("B", (Topic,), {"key_base": "last_week", "topics": ["m"], "max_replay": timedelta(days=7)})
    )
    send_many([Message("m", 1, f"d{n}", now - timedelta(days=n)) for n in range(30)])
    topics.drain()
    assert cache.get("since_epoch") == 1
    assert cache.get("last_week") == 7
    # Down for a month: it goes on a week ago, and says what it lacks.
    Cursor.objects.filter(reader="last_week").update(
        moved_at=now - timedelta(days=30), since=now - timedelta(days=40)
    )
    topics.drain()
    assert len(Cursor.objects.get(reader="last_week").missing) == 1


@pytest.mark.parametrize("parts", [2, 5])
def test_a_topic_that_is_split_otherwise_counts_on(cache: Cache, declare: Any, parts: int) -> None:
    made = {
        "key_base": "in_parts",
        "topics": ["orders.*"],
        "parameters": [IntegerParameter("shop")],
        "batch": 20,
    }
    one = declare.register(type("InParts", (Cents,), made))
    sent = orders(100)
    for message in sent:
        message.key = str(message.body["shop"])
    send_many(sent)
    topics.begin(one)
    topics.turn(one, 0)  # in the middle of a round
    registry.withdraw(type(one))
    declare.register(type("InParts", (Cents,), {**made, "partitions": parts}))
    topics.drain()
    assert Cursor.objects.filter(reader="in_parts").count() == parts
    more = orders(150)[100:]
    send_many(more)
    topics.drain()
    for shop in range(3):
        assert cache.get(f"in_parts/{shop}") == sum(
            m.body["cents"] for m in [*sent, *more] if m.body["shop"] == shop
        )


def test_slow_enrichment_is_done_apart_row_197(cache: Cache, declare: Any) -> None:
    class Enriched(Topic):
        key_base = "enriched"
        parameters = [StringParameter("country")]
        topics = ["visits"]
        backoff = timedelta(0)
        failing = {"m3"}

        def enrich(self, message: Message) -> Any:
            if message.id in self.failing:
                raise OSError("no answer")
            return {"country": "NO" if message.body % 2 else "SE"}

        def keys(self, message: Message) -> Any:
            return message.enriched

    declare.register(Enriched)
    send_many([Message("visits", n, f"m{n}") for n in range(10)])
    topics.drain()
    assert Held.objects.filter(state="waiting").count() == 10
    assert cache.get("enriched/NO") == 0
    while enriching.enrich_one(["enriched"], "default"):
        pass
    topics.drain()
    assert Held.objects.get().state == "parked"
    assert [cache.get("enriched/NO"), cache.get("enriched/SE")] == [4, 5]
    Enriched.failing.clear()
    assert held.retry(caller("default"), "enriched", enriches=True) == 1
    while enriching.enrich_one(["enriched"], "default"):
        pass
    topics.drain()
    assert [cache.get("enriched/NO"), cache.get("enriched/SE")] == [5, 5]
    assert not Held.objects.exists()


def test_what_messages_add_up_to_cannot_be_set(cache: Cache, declare: Any) -> None:
    declare.register(type("Orders", (Topic,), {"key_base": "orders_all", "topics": ["orders.*"]}))
    for attempt in (
        lambda: cache.set("orders_all", 1),
        lambda: cache.unset("orders_all"),
        lambda: cache.invalidate("orders_all"),
        lambda: cache.invalidate(key_base="orders_all"),
    ):
        with pytest.raises(UnstorableValue, match="kck rewind orders_all"):
            attempt()


def test_a_product_that_has_read_one_is_stale_once_it_has_moved(cache: Cache, declare: Any) -> None:
    declare.register(type("Orders", (Topic,), {"key_base": "orders_all", "topics": ["orders.*"]}))
    topics.drain()
    declare("twice_orders", lambda key: cache.get("orders_all") * 2)
    assert cache.get("twice_orders") == 0
    send("orders.paid", 1)
    topics.drain()
    assert cache.get("twice_orders") == 2
    send("orders.paid", 1)
    topics.drain()
    assert cache.get("twice_orders") == 4


def test_bodies_survive_the_log(declare: Any, cache: Cache) -> None:
    class Last(Topic):
        key_base = "last_body"

        def process(self, state: Any, message: Message) -> Any:
            return [message.body]

    declare.register(Last)
    for body in (
        None, True, 0, "", "ü\u0000x", "\ud800", {"$set": [1]}, {"a": {"$b": 1}}, [], 10**30, 1.5, float("inf"),
        {"at": T0, "b": {1, 2}}, {"z": 1, "a": 2},
    ):  # fmt: skip
        send("last_body", body)
        topics.drain()
        assert cache.get("last_body") == [body]
    with connection.cursor() as cursor:
        cursor.execute("SELECT body->>'z' FROM kck_outbox WHERE body ? 'z'")
        assert cursor.fetchall() == [("1",)]
