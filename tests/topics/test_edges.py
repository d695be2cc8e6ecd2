"""What is at the edges: messages that others would trip over, handlers that hide what went wrong, orders and hours that
come twice.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import Error, connection, transaction
from django.db.models import F

from kck_flow import Cache, IntegerParameter, Message, Topic, send, send_many
from kck_flow.models import Cursor, Held, Outbox
from kck_flow.store import held, outbox
from kck_flow.store.session import caller
from kck_flow.streams import intake, remembering, topics
from kck_flow.testing import registered
from tests.shop.models import Author

pytestmark = pytest.mark.django_db(transaction=True)
T0 = datetime(2026, 3, 1, 10, tzinfo=UTC)
cache = Cache.get_instance()


class Listed(Topic):
    """What came, in the order in which it was handled."""

    key_base = "edge_listed"
    topics = ["e"]

    def initial(self) -> Any:
        return []

    def process(self, state: Any, message: Message) -> Any:
        return [*state, message.body]


class Hourly(Topic):
    """How many, where one midnight comes twice."""

    key_base = "edge_hours"
    topics = ["e"]
    windows = ["1h", "1d"]
    tz = "America/Havana"


class Hiding(Topic):
    """A handler that catches an error of the database, and goes on."""

    key_base = "edge_hiding"
    topics = ["e"]
    retries = 0
    raw = False

    def process(self, state: Any, message: Message) -> Any:
        Author.objects.create(name=message.id)
        if message.body == "bad":
            try:
                if self.raw:
                    with connection.cursor() as cursor:
                        cursor.execute("SELECT 1/0")
                else:
                    with transaction.atomic(savepoint=False):
                        Author.objects.create(pk=Author.objects.latest("pk").pk, name="twice")
            except Error:
                pass
        return state + 1


class HidingRaw(Hiding):
    """The same, over a cursor."""

    key_base = "edge_hiding_raw"
    raw = True


class Retried(Topic):
    """A handler that fails at first."""

    key_base = "edge_retried"
    topics = ["e"]
    window = "1h"
    backoff = timedelta(minutes=1)

    def process(self, state: Any, message: Message) -> Any:
        raise ValueError("not yet")


def test_a_key_is_handled_in_the_order_of_sending_whoever_began_first(threads: Any) -> None:
    with registered(Listed):
        topics.drain()
        began, sent = threading.Event(), threading.Event()

        def first() -> None:
            with transaction.atomic():
                Author.objects.create(name="something else")  # its transaction has its number
                began.set()
                assert sent.wait(20)
                send("e", "shipped", id="2", key="o", at=T0)

        thread = threads(first)
        assert began.wait(20)
        send("e", "paid", id="1", key="o", at=T0)
        sent.set()
        thread.result()
        topics.drain()
        assert cache.get("edge_listed") == ["paid", "shipped"]


def test_a_midnight_that_comes_twice_is_two_hours_of_one_day() -> None:
    with registered(Hourly):
        topics.drain()
        hours = [datetime(2026, 11, 1, hour, 30, tzinfo=UTC) for hour in (4, 5)]
        send_many([Message("e", 1, f"m{at.hour}", at) for at in hours])
        topics.drain()
        begin = hours[0].replace(minute=0)
        points = cache.series("edge_hours", begin, begin + timedelta(hours=2), by="1h")
        assert [point.value for point in points] == [1, 1]
        assert cache.get("edge_hours/1d/2026-11-01") == 2


@pytest.mark.parametrize("kind", [Hiding, HidingRaw])
@pytest.mark.parametrize("place", [2, 4])
def test_a_handler_that_hides_an_error_of_the_database_is_parked_and_what_it_wrote_is_gone(
    kind: type[Topic], place: int
) -> None:
    with registered(kind):
        topics.drain()
        send_many([Message("e", "bad" if n == place else "good", f"m{n}", T0) for n in range(5)])
        topics.drain()
        assert cache.get(kind.key_base) == Author.objects.count() == 4
        assert Held.objects.get().message_id == f"m{place}"


class Telling(Topic):
    """A topic to whose products a message says itself that it belongs."""

    key_base = "edge_telling"
    topics = ["told"]
    parameters = [IntegerParameter("n", default=7)]
    retries = 0

    def keys(self, message: Message) -> Any:
        return message.body


class TellingHours(Telling):
    """The same, by the hour."""

    key_base = "edge_telling_hours"
    window = "1h"


NO_PRODUCTS: list[tuple[Any, str]] = [
    ("12", "keys() of NAME returned '12'. Return a dict of parameters, ['12'] for"),
    (12, "keys() of NAME returned 12. Return a dict of parameters, [12] for"),
    ([True], "n must be an int, not True"),
    ({"n": True}, "n must be an int, not True"),
    ({"n": 1.0}, "n must be an int, not 1.0"),
    ({"n": None}, "n must be an int, not None"),
    ({"n": [1]}, "n must be an int, not [1]"),
    ({"n": 1, "m": 2}, "has no parameter 'm'. It takes: n"),
    ({"m": 2}, "has no parameter 'm'. It takes: n"),
]


@pytest.mark.parametrize("kind", [Telling, TellingHours])
def test_what_is_no_product_of_a_topic_is_told(kind: type[Topic]) -> None:
    with registered(kind):
        # What is equal to one of these, and is one, does not stand for it.
        bodies = [{"n": 1}, [1], {}, *(body for body, _ in NO_PRODUCTS)]
        send_many([Message("told", body, f"m{n}", T0) for n, body in enumerate(bodies)])
        topics.drain()
        held_ones = dict(Held.objects.values_list("message_id", "error"))
        assert len(held_ones) == len(NO_PRODUCTS)
        for n, (_, told) in enumerate(NO_PRODUCTS, start=3):
            assert told.replace("NAME", repr(kind.key_base)) in held_ones[f"m{n}"]
        window = "/2026-03-01T10" if kind is TellingHours else ""
        assert [cache.get(f"{kind.key_base}/{n}{window}") for n in (1, 7, 2)] == [2, 1, 0]


def test_an_instant_beyond_the_calendar_is_refused_and_a_source_goes_on() -> None:
    far = datetime.max.replace(tzinfo=UTC)
    with pytest.raises(ValueError, match="between the years 2 and 9998"):
        send("e", 1, at=far)
    with registered(Listed):
        topics.drain()
        assert (
            intake.keep(
                caller("default"), "s", [Message("e", "far", "f", far), Message("e", "near", "n", T0)]
            )
            == 2
        )
        topics.drain()
        assert cache.get("edge_listed")[-1] == "near"


def test_a_name_that_no_index_could_hold_is_refused_and_a_source_goes_on() -> None:
    long = "e" * 20_000
    with pytest.raises(ValueError, match=r"at most 500 characters; 'eee.*… has 20,000"):
        send(long, 1)
    send("e" * 500, 1)
    sent = [Message(long, 1, f"1{long}", T0, long), Message("e", 2, f"2{long}", T0, long)]
    assert intake.keep(caller("default"), "s", sent) == 2
    told = Outbox.objects.filter(source="s").order_by("id")
    assert [(one.topic, one.body) for one in told] == [("e" * 500, None), ("e", 2)]
    assert "at most 500 characters" in told[0].headers["unreadable"]
    with registered(Listed):
        topics.drain()
        assert cache.get("edge_listed") == [2]


def test_what_says_that_it_is_from_the_future_does_not_make_the_log_refuse_the_present() -> None:
    with registered(Listed):
        now = datetime.now(UTC)
        send("e", "future", at=now + timedelta(days=365))
        send("e", "past", at=now - timedelta(days=30))
        topics.drain()
        Outbox.objects.update(received_at=F("received_at") - timedelta(days=9))
        topics.drain()
        assert sum(outbox.prune(caller("default"), ["edge_listed"], 8, 100)) == 1
        assert intake.keep(caller("default"), "s", [Message("e", "present", "p", now)]) == 1


def test_a_window_is_not_complete_while_one_of_its_messages_will_be_tried_again() -> None:
    with registered(Retried):
        topics.drain()
        send("e", 1, at=T0)
        topics.drain()
        (point,) = cache.series("edge_retried", T0, T0 + timedelta(hours=1))
        assert (point.value, point.complete) == (0, False)
        Held.objects.update(retry_at=None)  # given up
        (point,) = cache.series("edge_retried", T0, T0 + timedelta(hours=1))
        assert point.complete


def test_a_topic_that_goes_back_still_waits_for_the_history_that_it_lacks() -> None:
    with registered(Listed) as (topic,):
        assert isinstance(topic, Topic)
        remembering.opened.add("past")
        try:
            topics.begin(topic)
            assert topics.turn(topic, 0) is None
            topics.rewind(topic)
            assert Cursor.objects.get(reader="edge_listed").position["waits"] == ["past"]
            assert topics.turn(topic, 0) is None
        finally:
            remembering.opened.clear()


def test_who_was_too_long_at_enriching_does_not_park_what_another_has_enriched() -> None:
    class Enriched(Listed):
        key_base = "edge_enriched"

        def enrich(self, message: Message) -> Any:
            return 1

    with registered(Enriched):
        topics.drain()
        send("e", 1, at=T0)
        topics.drain()
        session = caller("default")
        slow = held.claim(session, ["edge_enriched"], 0)
        quick = held.claim(session, ["edge_enriched"], 60)
        assert slow is not None
        assert quick is not None
        assert held.enriched(session, quick[1], 1)
        held.failed(session, slow[1], "too late", "", None)
        assert Held.objects.get().state == "ready"
