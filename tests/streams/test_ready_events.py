"""The events of flows, and the log of messages, as streams. Rows 137, 138, 150."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Q

from kck_flow import (
    Cache,
    DateParameter,
    EventStream,
    Facet,
    Flow,
    IntegerParameter,
    Message,
    MessageStream,
    ModelParameter,
    Stock,
    StringParameter,
    TimeFrame,
    model_stream,
    testing,
)
from kck_flow.changes import triggers
from kck_flow.errors import DeclarationError
from kck_flow.models import Cursor, Event, Frame, Outbox
from kck_flow.streams.log import send, send_many
from kck_flow.testing import freeze_time, registered, run_worker
from kck_flow.testing.streams import StreamConformance
from tests.accounts.models import Account, AccountEvent, Branch

committed = pytest.mark.django_db(transaction=True)
T = datetime(2026, 3, 1, tzinfo=UTC)
ALL = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


class Trying(Stock):
    key_base, model, members = "rs_trying", Account, Q(state="trial")


class Paying(Stock):
    key_base, model, members = "rs_paying", Account, Q(state="paying")


class Converting(Flow):
    """By a column that says when."""

    key_base, sources, sinks, at = "rs_converting", [None, Trying], [Paying], "joined_at"
    facets = [Facet("plan"), Facet("balance"), Facet("born", "born_on"), Facet("vip")]
    record_events: Any = True


class Leaving(Flow):
    """In a model of its own."""

    key_base, sources, sinks, at = "rs_leaving", [None, Trying], [Paying], "joined_at"
    facets = [Facet("plan"), Facet("balance")]
    record_events = AccountEvent


class TryingHere(Stock):
    key_base, model, members = "rs_trying_here", Account, Q(state="trial")
    parameters = [
        ModelParameter("branch", Branch, field="branch_id"),
        StringParameter("plan"),
        DateParameter("born_on"),
        IntegerParameter("points"),
    ]


class PayingHere(TryingHere):
    key_base, members = "rs_paying_here", Q(state="paying")


class ConvertingHere(Flow):
    key_base, sources, sinks = "rs_converting_here", [None, TryingHere], [PayingHere]
    parameters = TryingHere.parameters
    record_events = True


@contextmanager
def in_this_transaction(*more: Any) -> Iterator[None]:
    """Declare flows for the length of a block, whose triggers vanish with the test."""
    with registered(Trying, Paying, *more):
        triggers.install("default")
        testing.reset()
        yield


@contextmanager
def declared(*more: Any) -> Iterator[None]:
    with in_this_transaction(*more):
        yield
    triggers.install("default")


def items(stream: Any, **options: Any) -> list[Any]:
    return [item for _, item in stream.read(*ALL, **options)]


# -- the laws of all streams ---------------------------------------------------------------------------------


@pytest.mark.django_db
class TestEvents(StreamConformance):
    @pytest.fixture(autouse=True)
    def _declared(self) -> Iterator[None]:
        with in_this_transaction(Converting):
            yield

    def empty(self) -> EventStream:
        return EventStream(Converting)

    def put(self, stream: Any, at: datetime, mark: str) -> None:
        Account.objects.create(state="paying", joined_at=at, plan=mark)

    def mark_of(self, item: Any) -> str:
        return item.facets["plan"]

    def remove(self, stream: Any, mark: str) -> None:
        Event.objects.filter(facets__plan=mark).delete()


@pytest.mark.django_db
class TestTypedEvents(TestEvents):
    @pytest.fixture(autouse=True)
    def _declared(self) -> Iterator[None]:
        with in_this_transaction(Leaving):
            yield

    def empty(self) -> EventStream:
        return EventStream("rs_leaving")

    def remove(self, stream: Any, mark: str) -> None:
        AccountEvent.objects.filter(plan=mark).delete()


@pytest.mark.django_db
class TestMessages(StreamConformance):
    deletes = False

    def empty(self) -> MessageStream:
        return MessageStream("orders.*", "refunds")

    def put(self, stream: Any, at: datetime, mark: str) -> None:
        send("orders.paid" if at.microsecond % 2 else "refunds", {"mark": mark}, at=at)
        send("order", {"mark": "another"}, at=at, id=mark)

    def mark_of(self, item: Any) -> str:
        return item.body["mark"]

    def remove(self, stream: Any, mark: str) -> None:
        Outbox.objects.filter(body__mark=mark).delete()


# -- events --------------------------------------------------------------------------------------------------


@committed
def test_an_event_tells_what_moved_and_how_it_was() -> None:
    with declared(Converting):
        one = Account.objects.create(
            state="trial", plan="pro", joined_at=T, balance=Decimal("12.50"), vip=True
        )
        Account.objects.create(state="trial")
        Account.objects.filter(pk=one.pk).update(state="paying", born_on=date(1980, 5, 1))
        [item] = items(EventStream(Converting))
        assert (item.source, item.sink, item.subject_id, item.at) == (
            "rs_trying",
            "rs_paying",
            str(one.pk),
            T,
        )
        facets = {"plan": "pro", "balance": Decimal("12.50"), "born": date(1980, 5, 1), "vip": True}
        assert item.facets == facets
        assert {name: type(value) for name, value in item.facets.items()} == {
            name: type(value) for name, value in facets.items()
        }
        assert item.args == {}


@committed
def test_events_of_a_flow_with_parameters_are_split_by_them() -> None:
    with declared(TryingHere, PayingHere, ConvertingHere):
        north, south = (Branch.objects.create(name=name) for name in ("north", "south"))
        for branch, plan, born, points in (
            (north, "pro", date(1980, 5, 1), 3),
            (north, "a b/ü%", None, 4),
            (south, None, date(1980, 5, 2), 5),
            (None, "pro", None, -6),
        ):
            Account.objects.create(state="paying", branch=branch, plan=plan, born_on=born, points=points)
        stream = EventStream(ConvertingHere)
        assert items(stream)[0].args == {
            "branch": north.pk, "plan": "pro", "born_on": date(1980, 5, 1), "points": 3,
        }  # fmt: skip
        for params, expected in (
            ({"branch": north}, [3, 4]),
            ({"branch": north.pk, "plan": "a b/ü%"}, [4]),
            ({"branch": None}, [-6]),
            ({"plan": None}, [5]),
            ({"born_on": date(1980, 5, 2)}, [5]),
            ({"born_on": "1980-05-01"}, [3]),
            ({"points": -6}, [-6]),
            ({"points": 7}, []),
        ):
            found = [item.args["points"] for item in items(stream.narrowed(params))]
            assert found == expected, params
        with pytest.raises(DeclarationError, match=r"no parameter 'shop'.*branch, plan, born_on, points"):
            stream.narrowed({"shop": 1})


@committed
def test_what_was_not_kept_is_a_gap() -> None:
    before = datetime.now(UTC) - timedelta(hours=1)
    with declared(Converting):
        stream = EventStream(Converting)
        later = datetime.now(UTC) + timedelta(hours=1)
        [(start, made)] = stream.gaps(before, later)
        assert start == before
        assert before < made < datetime.now(UTC)
        assert list(stream.gaps(made, later)) == []
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE accounts_account DISABLE TRIGGER ALL")
        [_, (begin, until)] = stream.gaps(before, later)
        assert made <= begin < until == later  # and goes on
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE accounts_account ENABLE TRIGGER ALL")
        triggers.install("default")
        [_, (begin, until)] = stream.gaps(before, later)
        assert begin < until <= datetime.now(UTC)
        # What was deleted of it is missing, too.
        deleted = until + timedelta(minutes=5)
        Cursor.objects.create(reader="stream:events:rs_converting", since=deleted, begun_at=deleted)
        assert list(stream.gaps(before, later)) == [(before, deleted)]


@committed
def test_a_flow_that_is_not_captured_has_kept_nothing() -> None:
    with registered(Trying, Paying, Converting):
        assert list(EventStream(Converting).gaps(*ALL)) == [ALL]


@committed
def test_events_whose_callables_were_not_called_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_stream, "PAGE", 2)
    told: list[Any] = []
    monkeypatch.setattr(Converting, "event_callables", [lambda *given: told.append(given)])
    with declared(Converting):
        for number in range(5):
            Account.objects.create(state="paying", joined_at=T + timedelta(seconds=number))
        stream = EventStream(Converting)
        assert (stream.count(*ALL), stream.count_before(ALL[1]), stream.delete_before(ALL[1])) == (5, 0, 0)
        run_worker(["rs_converting"])
        assert len(told) == 5
        assert (
            stream.count_before(T + timedelta(seconds=4)),
            stream.delete_before(T + timedelta(seconds=4)),
        ) == (4, 4)
        assert stream.count(*ALL) == 1


@pytest.mark.django_db
def test_what_is_declared_wrongly_is_told_when_it_is_read() -> None:
    with registered(Trying, Paying, Converting):
        with pytest.raises(DeclarationError, match="'events:rs_none': no flow is named 'rs_none'"):
            EventStream("rs_none").earliest()
        with pytest.raises(DeclarationError, match="no flow is named 'rs_paying'"):
            EventStream("rs_paying").earliest()
    Converting.record_events = False
    try:
        with (
            registered(Trying, Paying, Converting),
            pytest.raises(DeclarationError, match="'rs_converting' keeps no events"),
        ):
            EventStream(Converting).earliest()
    finally:
        Converting.record_events = True
    with pytest.raises(DeclarationError, match="of a flow"):
        EventStream("")


# -- messages ------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_message_comes_as_it_was_sent() -> None:
    body = {"when": date(2026, 1, 1), "tuple": (1, Decimal("2.50")), "$odd": None}
    send("orders.paid", body, at=T, id="7", key="42", headers={"by": "us"})
    send("orders.paid", None, at=T + timedelta(seconds=1))
    first, second = items(MessageStream("orders.paid"))
    assert first == Message("orders.paid", body, "7", T, "42", {"by": "us"})
    assert (second.body, second.headers) == (None, {})


@pytest.mark.django_db
def test_which_topics_a_pattern_means() -> None:
    names = ["orders", "orders.paid", "orders.paid.eu", "xorders.paid", "refunds", "ordersXpaid", "o", ""]
    send_many([Message(name, {}, at=T) for name in names if name])
    for patterns, expected in (
        (["orders.*"], ["orders.paid", "orders.paid.eu"]),
        (["*"], names[:-1]),
        (["*.paid"], ["orders.paid", "xorders.paid"]),
        (["orders.paid", "refunds"], ["orders.paid", "refunds"]),
        (["o*s", "o"], ["orders", "o"]),
    ):
        assert [item.topic for item in items(MessageStream(*patterns))] == expected
    with pytest.raises(DeclarationError, match="of topics"):
        MessageStream()


@pytest.mark.django_db
def test_what_is_gone_from_the_log_is_a_gap_and_it_is_not_split() -> None:
    stream = MessageStream("orders.*")
    assert list(stream.gaps(*ALL)) == []
    Cursor.objects.create(reader="log", since=T, begun_at=T)
    assert list(stream.gaps(*ALL)) == [(ALL[0], T)]
    assert list(stream.gaps(T, ALL[1])) == []
    with pytest.raises(NotImplementedError, match="cannot be split by shop"):
        stream.narrowed({"shop": 7})
    with pytest.raises(NotImplementedError, match="topics read"):
        stream.delete_before(T)


@committed
def test_a_message_that_is_not_committed_is_not_complete() -> None:
    stream = MessageStream("orders.*")
    with transaction.atomic():
        begun = stream.watermark()
        send("orders.paid", {})
        assert stream.watermark() == begun
        assert stream.latest() > begun


# -- time frames over them -----------------------------------------------------------------------------------


class RsPerHour(TimeFrame):
    """Who became what in an hour."""

    key_base, duration, quiet, corrections = "rs_per_hour", "hour", None, timedelta(0)
    stream = EventStream("rs_converting", watermark="latest")

    def compute(self, key: Any, items: Any) -> Any:
        return [event.facets["plan"] for event in items]


class RsMessages(TimeFrame):
    """What was said in an hour."""

    key_base, duration, quiet, corrections = "rs_messages", "hour", None, timedelta(0)
    stream = MessageStream("orders.*", watermark="latest")

    def compute(self, key: Any, items: Any) -> Any:
        return [message.body for message in items]


@committed
def test_150_a_frame_over_a_gap_of_its_flow_says_that_it_is_not_complete() -> None:
    with declared(Converting, RsPerHour):
        begun = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        with freeze_time(begun + timedelta(hours=4)) as clock:
            for hours, plan in ((-2, "a"), (-2, "b"), (1, "c"), (2, "d"), (3, "e")):
                Account.objects.create(state="paying", joined_at=begun + timedelta(hours=hours), plan=plan)
            Event.objects.filter(facets__plan="a").update(at=begun - timedelta(hours=2))
            run_worker(["rs_per_hour"])
            told = {
                frame.start_at: frame.complete
                for frame in Frame.objects.filter(key_base="rs_per_hour", state="closed")
            }
            hour = timedelta(hours=1)
            # Up to when the flow was declared, in this hour, nothing was kept.
            assert told == {
                begun - 2 * hour: False, begun - hour: False, begun: False, begun + hour: True, begun + 2 * hour: True,
            }  # fmt: skip
            cache = Cache.get_instance()
            assert cache.get(RsPerHour().build_key(window=begun + hour)) == ["c"]
            assert sorted(cache.get(RsPerHour().build_key(window=begun - 2 * hour))) == ["a", "b"]
            assert clock() == begun + 4 * hour


@committed
def test_a_message_is_in_the_frame_in_which_it_happened() -> None:
    with registered(RsMessages), freeze_time(T + timedelta(hours=5)):
        for minutes in (0, 59, 60, 200, 61, 30):
            send("orders.paid", minutes, at=T + timedelta(minutes=minutes))
        run_worker(["rs_messages"])
        cache = Cache.get_instance()
        assert cache.get("rs_messages/2026-03-01") == [0, 30, 59]
        assert cache.get("rs_messages/2026-03-01T01") == [60, 61]
        assert cache.get("rs_messages/2026-03-01T02") == []
        assert not Frame.objects.filter(complete=False).exists()
