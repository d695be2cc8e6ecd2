"""One facet value of a stock or a flow, over time: in pages, pictures and tables alike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import Q
from django.test import Client
from django.test.utils import override_settings

from kck_flow import Cache, Facet, Flow, Stock, every
from kck_flow.changes import triggers
from kck_flow.testing import freeze_time, registered, reset, run_worker
from tests.pages.conftest import DAY, NOW, ROOT
from tests.pages.test_overview import text_of
from tests.shop.models import Customer, Order

pytestmark = pytest.mark.django_db(transaction=True)


class Open(Stock):
    """Orders that are not closed."""

    key_base, label, model, members = "f_open", "Open orders", Order, Q(cents__gte=0)
    facets = [Facet("state", label="State"), Facet("customer__country")]
    permission, goal, keep_history = "public", 50, True


class Coming(Flow):
    key_base, label, sources, sinks, window = "f_coming", "Coming", [None], [Open], "day"
    facets, permission = [Facet("state")], "public"


@pytest.fixture
def orders(site: None) -> Iterator[Any]:
    """Two days of orders: what was recorded of them, and a customer who is known."""
    reset()
    with registered(Open, Coming), override_settings(KCK_FLOW={"PERMISSION": "public"}):
        triggers.install("default")
        customer = Customer.objects.create(name="x", country="FR")
        for state, number in (("open", 3), ("sent", 2), ("", 1)):
            Order.objects.bulk_create(Order(customer=customer, state=state, cents=1) for _ in range(number))
        Cache.get_instance().get("f_open")
        yield customer
    reset()


def shown(html: str) -> str:
    found = re.search(r'<p class="kck-number">(.*?)\s*<span', html)
    assert found is not None
    return found[1]


def test_a_facet_value_has_its_number_its_table_and_its_address(orders: Any, client: Client) -> None:
    html = text_of(client.get(f"{ROOT}products/f_open"))
    assert shown(html) == "6"
    assert f'<a href="{ROOT}products/f_open?facet.state=open">open</a>' in html
    assert "of the goal" in html
    html = text_of(client.get(f"{ROOT}products/f_open", {"facet.state": "open"}))
    assert (shown(html), "of the goal" in html) == ("3", False)
    assert "<h1>Open orders · State: open</h1>" in html
    assert '<option value="state=open" selected>open</option>' in html
    # Chosen in the form, without a script; "all" is all.
    assert shown(text_of(client.get(f"{ROOT}products/f_open", {"facet": "state=sent"}))) == "2"
    assert shown(text_of(client.get(f"{ROOT}products/f_open", {"facet": ""}))) == "6"
    # What the form says it says once.
    assert html.count('name="facet') == 1
    # Values that are no text, or none.
    assert shown(text_of(client.get(f"{ROOT}products/f_open", {"facet.state": '""'}))) == "1"
    assert shown(text_of(client.get(f"{ROOT}products/f_open", {"facet.customer__country": "FR"}))) == "6"
    html = text_of(client.get(f"{ROOT}products/f_open", {"facet.state": "lost"}))
    assert shown(html) == "0"
    assert '<option value="state=lost" selected>lost</option>' in html


def test_its_faces_say_the_same(orders: Any, client: Client) -> None:
    for key, number in (("f_open", 2), ("f_coming", 2)):
        asked = {"facet.state": "sent", "range": "7d", "by": "day"}
        rows = client.get(f"{ROOT}products/{key}.json", asked).json()
        assert rows["meta"]["facet"] == {"state": "sent"}
        assert rows["rows"][-1]["value"] == number
        table = text_of(client.get(f"{ROOT}products/{key}.csv", asked)).splitlines()
        assert table[-1].split(",")[2] == str(number)
        picture = text_of(client.get(f"{ROOT}products/{key}.svg", asked))
        assert "State: sent" in picture or "state: sent" in picture
        page = text_of(client.get(f"{ROOT}products/{key}", asked))
        whole = text_of(client.get(f"{ROOT}products/{key}", {"range": "7d", "by": "day"}))
        assert page != whole
        assert f"{key}.json?facet.state=sent&amp;range=7d&amp;by=day" in page
        # Without a range of its own, a facet value is a series too.
        assert client.get(f"{ROOT}products/{key}.json?facet.state=sent").json()["rows"]


class Kept(Stock):
    key_base, model, schedule, permission = "f_kept", Order, every(days=1), "public"
    facets = [Facet("state")]


def test_a_facet_value_that_was_recorded_is_followed(site: None, client: Client) -> None:
    reset()
    midnight = NOW.replace(hour=0, minute=0)
    with registered(Kept), freeze_time(midnight - timedelta(hours=2)) as clock:
        triggers.install("default")
        run_worker(["f_kept"])  # puts the schedule in force
        customer = Customer.objects.create(name="x")
        for day in range(4):
            Order.objects.create(customer=customer, state="sent", cents=1)
            Order.objects.create(customer=customer, state="open", cents=1)
            clock.set(midnight + DAY * day + timedelta(minutes=1))
            run_worker(["f_kept"])  # what there is as a day begins
        Order.objects.create(customer=customer, state="sent", cents=1)
        asked = {"facet.state": "sent", "from": "2026-03-10", "to": "2026-03-13", "by": "day"}
        rows = client.get(f"{ROOT}products/f_kept.json", asked).json()["rows"]
        # As each began; the last day is in progress: what there is now.
        assert [(row["value"], row["complete"]) for row in rows] == [
            (1, True),
            (2, True),
            (3, True),
            (5, False),
        ]
        page = text_of(client.get(f"{ROOT}products/f_kept", asked))
        table = page[page.index("<tbody") : page.index("</tbody>")]
        assert re.findall(r'<td class="kck-right">(\d+)', table) == ["1", "2", "3", "5"]
    reset()


def test_its_number_leads_to_its_rows(orders: Any) -> None:
    head = Client()
    head.force_login(User.objects.create_superuser("head"))
    html = text_of(head.get(f"{ROOT}products/f_open", {"facet.state": "open"}))
    assert f'<a href="{ROOT}members/f_open?facet.state=open">The rows that are counted</a>' in html
    assert f'<a href="{ROOT}members/f_open?facet.state=sent">2</a>' in html
    # An empty text is a value, and not all of them.
    empty = f"{ROOT}members/f_open?facet.state=%22%22"
    assert f'<a href="{empty}">1</a>' in html
    assert len(head.get(f"{ROOT}members/f_open.json?facet.state=%22%22").json()["rows"]) == 1


@pytest.mark.parametrize(
    ("key", "asked", "said"),
    [
        (
            "f_open",
            {"facet.stat": "open"},
            "'f_open' has no facet 'stat'. Its facets are: state, customer__country. Did you mean 'state'?",
        ),
        (
            "f_open",
            {"facet.state": "open", "facet.customer__country": "FR"},
            "One facet at a time, and not state and customer__country.",
        ),
        ("p_signups", {"facet.state": "open"}, "'p_signups' has no facets."),
    ],
)
def test_what_is_no_facet_is_said(
    orders: Any, history: Any, client: Client, key: str, asked: Any, said: str
) -> None:
    for face in ("", ".json", ".csv", ".svg"):
        answer = client.get(f"{ROOT}products/{key}{face}", asked)
        assert answer.status_code == 400, face
        told = text_of(answer).replace("&#x27;", "'")
        assert said in told, told
