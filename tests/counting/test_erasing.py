"""A person is erased: names go, totals stay. Row 238."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models import Q

from kck_flow import Cache, Flow, Message, Stock, Topic
from kck_flow.changes import triggers
from kck_flow.models import Event, Held, Outbox
from kck_flow.registry import registry
from kck_flow.streams import topics
from kck_flow.streams.log import send
from kck_flow.testing import registered, run_worker
from tests.accounts.models import Account, AccountEvent, OrderEvent
from tests.shop.models import Customer, Order

pytestmark = pytest.mark.django_db(transaction=True)
T0 = datetime(2026, 3, 1, 10, tzinfo=UTC)


class Here(Stock):
    key_base, model, members = "er_here", Account, Q(state="a")


class There(Stock):
    key_base, model, members = "er_there", Account, Q(state="b")


class Going(Flow):
    key_base, sources, sinks = "er_going", [Here], [There]
    record_events = True


class Typed(Flow):
    key_base, sources, sinks = "er_typed", [Here], [There]
    record_events = AccountEvent


class Bought(Topic):
    """Cents, by shop."""

    key_base, topics = "er_bought", ["bought"]
    subjects = {"accounts.Account": ["buyer.id", "buyer.mail"]}

    def process(self, state: Any, message: Message) -> Any:
        if message.body.get("bad"):
            raise RuntimeError("no")
        return state + message.body["cents"]


@contextmanager
def declared(*more: Any) -> Iterator[None]:
    with registered(Here, There, *more):
        triggers.install("default")
        yield
    triggers.install("default")


def erase(subject: str, *options: str) -> tuple[int, dict[tuple[str, str], tuple[int, int, int]]]:
    """Return the exit code, and what was found, erased and left waiting, by kind and place."""
    out = io.StringIO()
    code = 0
    try:
        call_command("kck", "prune", "--subject", subject, "--format", "json", *options, stdout=out)
    except SystemExit as left:
        code = int(left.code or 0)
    return code, {
        (row["what"], row["place"]): (row["rows"], row["erased"], row["waiting"])
        for row in json.loads(out.getvalue())
    }


def test_a_row_that_is_gone_is_nobody_and_what_it_counted_for_stays() -> None:
    with declared(Going):
        gone, stays = Account.objects.create(state="a"), Account.objects.create(state="a")
        for state in ("b", "a", "b"):
            Account.objects.update(state=state)
        pk = gone.pk
        gone.delete()
        before = Cache.get_instance().get("er_going")
        found = {("events", "kck_event"): (2, 0, 0)}
        assert erase(f"accounts.Account:{pk}", "--dry-run") == (0, found)
        assert Event.objects.filter(subject_id=str(pk)).count() == 2
        assert erase(f"accounts.Account:{pk}") == (0, {("events", "kck_event"): (2, 2, 0)})
        assert erase(f"accounts.Account:{pk}") == (0, {})
        assert Cache.get_instance().get("er_going") == before
        (name,) = set(Event.objects.exclude(subject_id=str(stays.pk)).values_list("subject_id", flat=True))
        # One and the same for both, so that it is known still that somebody came twice; and of whom says nothing.
        assert re.fullmatch("erased:[0-9a-f]{32}", name)
        assert Event.objects.filter(subject_id=str(stays.pk)).count() == 2


def test_events_in_a_model_of_ones_own_lose_their_foreign_key() -> None:
    with declared(Typed):
        one, other = Account.objects.create(state="a"), Account.objects.create(state="a")
        Account.objects.update(state="b")
        pk = one.pk
        Account.objects.filter(pk=pk).delete()
        code, found = erase(f"accounts.account:{pk}")
        assert (code, found["events", "accounts.AccountEvent"]) == (0, (1, 1, 0))
        assert sorted(AccountEvent.objects.values_list("subject", flat=True), key=str) == [other.pk, None]


def test_a_row_that_is_there_still_is_told() -> None:
    with declared(Going):
        one = Account.objects.create(state="a")
        out = io.StringIO()
        call_command("kck", "prune", "--subject", f"accounts.Account:{one.pk}", stdout=out)
        assert f"Nothing tells of accounts.Account:{one.pk}. The row is still there" in out.getvalue()


def test_events_whose_functions_wait_keep_their_subject_until_they_are_called() -> None:
    called: list[Any] = []
    with declared(Going):
        Going.event_callables = (lambda row, source, sink: called.append(row),)
        try:
            registry.primer("er_going").event_callables = Going.event_callables
            triggers.install("default")
            one = Account.objects.create(state="a")
            Account.objects.update(state="b")
            code, found = erase(f"accounts.Account:{one.pk}")
            assert (code, found["events", "kck_event"]) == (1, (0, 0, 1))
            run_worker(["er_going"])
            assert called == [one]
            code, found = erase(f"accounts.Account:{one.pk}")
            assert (code, found["events", "kck_event"]) == (0, (1, 1, 0))
        finally:
            Going.event_callables = ()


def test_messages_lose_what_their_topic_says_is_of_a_person() -> None:
    with registered(Bought):
        _messages_of_a_person()


def _messages_of_a_person() -> None:
    topics.drain(["er_bought"])
    for number, buyer in enumerate((7, 8, 7)):
        body = {"cents": 5, "buyer": {"id": buyer, "mail": f"{buyer}@x"}}
        send("bought", body, id=f"m{number}", key=str(buyer))
    send("other", {"buyer": {"id": 7}}, id="o")
    code, found = erase("accounts.Account:7")
    assert (code, found["messages", "er_bought"]) == (1, (0, 0, 2))  # nobody has counted them yet
    assert topics.drain(["er_bought"]) == 3
    code, found = erase("accounts.Account:7")
    assert (code, found["messages", "er_bought"]) == (0, (2, 2, 0))
    bodies = dict(Outbox.objects.values_list("message_id", "body"))
    assert bodies["m0"] == bodies["m2"] == {"cents": 5, "buyer": {"id": None, "mail": None}}
    assert bodies["m1"] == {"cents": 5, "buyer": {"id": 8, "mail": "8@x"}}
    assert bodies["o"] == {"buyer": {"id": 7}}
    assert set(Outbox.objects.exclude(message_id="o").values_list("partition_key", flat=True)) == {"", "8"}
    assert Cache.get_instance().get("er_bought") == 15
    assert send("bought", {"cents": 5, "buyer": {"id": 7}}, id="m0") is False  # known still, and counted once
    assert topics.drain(["er_bought"]) == 0


def test_what_nobody_has_handled_keeps_it_beside_what_everybody_has() -> None:
    with registered(Bought):
        topics.drain(["er_bought"])
        send("bought", {"cents": 5, "buyer": {"id": 7}}, id="handled")
        topics.drain(["er_bought"])
        send("bought", {"cents": 2, "buyer": {"id": 7}}, id="waits")
        code, found = erase("accounts.Account:7")
        assert (code, found) == (1, {("messages", "er_bought"): (1, 1, 1)})
        named = {one.message_id: one.body["buyer"]["id"] for one in Outbox.objects.all()}
        assert named == {"handled": None, "waits": 7}
        assert topics.drain(["er_bought"]) == 1
        assert erase("accounts.Account:7")[0] == 0
        assert Cache.get_instance().get("er_bought") == 7


def test_what_several_topics_say_of_one_message_goes_together() -> None:
    class Keys(Topic):
        key_base, topics = "er_a_keys", ["bought"]  # noticed first: by its name alone the key would be gone
        subjects = {"accounts.Account": "buyer.id"}

    with registered(Keys, Bought):
        topics.drain(["er_a_keys", "er_bought"])
        send("bought", {"cents": 5, "buyer": {"id": 7, "mail": "7@x"}}, id="m")
        topics.drain(["er_a_keys", "er_bought"])
        code, found = erase("accounts.Account:7")
        assert (code, found) == (0, {("messages", "er_a_keys, er_bought"): (1, 1, 0)})
        assert Outbox.objects.get().body == {"cents": 5, "buyer": {"id": None, "mail": None}}


def test_a_message_that_is_set_aside_keeps_it_until_it_is_handled() -> None:
    with registered(type("Bad", (Bought,), {"retries": 0})):
        topics.drain(["er_bought"])
        send("bought", {"cents": 5, "bad": True, "buyer": {"id": 7, "mail": "7@x"}}, id="m")
        topics.drain(["er_bought"])
        assert Held.objects.count() == 1
        code, found = erase("accounts.Account:7")
    assert (code, found["messages", "er_bought"]) == (1, (1, 1, 1))
    assert Held.objects.get().body["buyer"]["id"] == 7


@pytest.mark.parametrize(
    ("subject", "told"),
    [
        ("accounts.Account", "a model and a primary key, such as shop.Customer:42"),
        ("accounts.Acount:3", "there is no model 'accounts.Acount'. Did you mean accounts.Account?"),
        ("accounts.Account:x", "'x' is no primary key of accounts.Account"),
    ],
)
def test_what_is_no_row_is_told(subject: str, told: str) -> None:
    with pytest.raises(CommandError) as refused:
        call_command("kck", "prune", "--subject", subject)
    assert told in str(refused.value)


def test_one_thing_at_a_time() -> None:
    with pytest.raises(CommandError, match="is about one row alone: leave out --events"):
        call_command("kck", "prune", "--subject", "accounts.Account:3", "--events", "1d")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("buyer", "subjects is 'buyer'"),
        ({"Account": "buyer"}, "'Account', which is no model"),
        ({"accounts.Account": []}, r"\[\] for accounts.Account, which is no list of paths"),
        ({"accounts.Account": ["buyer..id"]}, "which is no list of paths"),
    ],
)
def test_subjects_that_cannot_be_are_told(given: Any, told: str) -> None:
    wrong = list(type("Wrong", (Topic,), {"key_base": "er_wrong", "subjects": given}).problems())
    assert any(re.search(told, what) for what, _ in wrong), wrong


def test_a_model_whose_events_must_be_of_somebody_is_told_and_nothing_is_erased() -> None:
    class Open(Stock):
        key_base, model, members = "er_open", Order, Q(state="open")

    class Paid(Stock):
        key_base, model, members = "er_paid", Order, Q(state="paid")

    class Paying(Flow):
        key_base, sources, sinks = "er_paying", [Open], [Paid]
        record_events = OrderEvent

    with registered(Open, Paid, Paying):
        triggers.install("default")
        order = Order.objects.create(customer=Customer.objects.create(name="D"), state="open", cents=1)
        Order.objects.update(state="paid")
        with pytest.raises(CommandError, match="its column subject_id is NOT NULL") as refused:
            call_command("kck", "prune", "--subject", f"shop.Order:{order.pk}")
        assert "Give its subject null=True, and migrate." in str(refused.value)
        assert OrderEvent.objects.get().subject_id == order.pk
    triggers.install("default")
