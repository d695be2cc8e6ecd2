"""The page of a process: what came into its main stock and what went, each number as the books have it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client, override_settings

from kck_flow import Cache, Facet, Flow, Process, clock
from kck_flow.changes import triggers
from kck_flow.testing import registered, reset
from tests.accounts.models import Account
from tests.accounts.primers import Closed, Converting, Departing, Paying, SigningUp, Trial
from tests.pages.conftest import ROOT, SITE

pytestmark = pytest.mark.django_db(transaction=True)


class Customers(Process):
    """Flows with several ends: who signs up may try or pay, and who leaves may have done either."""

    key_base, label = "p_customers", "Customers"
    stocks, flows = [Trial, Paying, Closed], [SigningUp, Converting, Departing]


@pytest.fixture
def moved() -> Iterator[None]:
    reset()
    with override_settings(**SITE), registered(Customers):
        Cache.get_instance().refresh("p_customers")
        trying = Account.objects.bulk_create([Account(state="trial") for _ in range(10)])
        paying = Account.objects.bulk_create([Account(state="active") for _ in range(4)])
        Account.objects.filter(pk__in=[one.pk for one in trying[:5]]).update(state="active")
        Account.objects.filter(pk__in=[one.pk for one in (*trying[8:], *paying[:3])]).update(state="closed")
        yield
    reset()


def test_the_chart_is_of_what_moved_the_main_stock_whatever_else_its_flows_move(
    moved: None, staff: Client
) -> None:
    response: Any = staff.get(f"{ROOT}processes/p_customers?range=24h&by=hour")
    told = response.context["told"]["stocks"]["trial"]
    assert (told["in"], told["out"], told["count"]) == (10, 7, 3)
    assert response.context["chart_title"] == "Into and out of Accounts that try it"
    assert (
        response.context["chart"].sentence == "Accounts that try it, Last 24 hours: 10 came, 7 went, +3 net."
    )
    table = response.context["chart"].table
    columns = [[row[at] for row in table.rows] for at in range(len(table.rows[0]))]
    numbers = [[cell.split()[0].replace("−", "-") for cell in column] for column in columns[1:]]
    assert [sum(int(cell) for cell in column if cell != "–") for column in numbers] == [10, 5, 2, 3]


def test_a_list_has_of_a_flow_what_moved_within_the_range(moved: None, staff: Client) -> None:
    page: Any = staff.get(f"{ROOT}products?range=24h&q=signing_up")
    (row,) = [one for one in page.context["listed"] if one["key"] == "signing_up"]
    assert row["number"] == "14 in 24 hours"
    (told,) = staff.get(f"{ROOT}products.json?range=24h&q=signing_up").json()["rows"]
    assert told["value"] == 14


def cells(html: str, which: str) -> dict[str, list[str]]:
    """Return the rows of one of the tables by facet, as they are read, by value."""
    found = re.search(rf'<tbody data-live="facets-{which}">(.*?)</tbody>', html, re.S)
    assert found is not None
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in found[1].split("</tr>") if row]
    return {row[0]: [re.sub(r"<[^>]+>", "", cell).strip() for cell in row[1:]] for row in rows}


class Arriving(Flow):
    key_base, sources, sinks, facets = "p_arriving", [None], [Trial], [Facet("plan")]


class Staying(Flow):
    key_base, sources, sinks, facets = "p_staying", [Trial], [Paying], [Facet("plan")]


class Plain(Process):
    """Flows with one end on each side: by facet they tell what came and went."""

    key_base, label, stocks, flows = "p_plain", "Plainly", [Trial, Paying], [Arriving, Staying]


def test_each_value_of_a_facet_has_what_it_holds_and_what_moved(staff: Client) -> None:
    reset()
    with override_settings(**SITE), registered(Arriving, Staying, Plain):
        html = staff.get(f"{ROOT}processes/p_plain?range=24h&by=hour").content.decode()
        assert re.search(r"p_arriving.*?<strong>–</strong>", html, re.S), "no trigger counts it yet: no zero"
        triggers.install("default")
        Cache.get_instance().refresh("p_plain")
        plans = ("pro", "pro", "pro", "free", "free", None)
        made = Account.objects.bulk_create(Account(state="trial", plan=plan) for plan in plans)
        Account.objects.filter(pk__in=[made[0].pk, made[1].pk, made[3].pk]).update(state="active")
        html = staff.get(f"{ROOT}processes/p_plain?range=24h&by=hour&split=plan").content.decode()
        assert cells(html, "stocks") == {
            "pro": ["1 +3 −2", "2 +2"],
            "free": ["1 +2 −1", "1 +1"],
            "none": ["1 +1", "0"],
        }
        assert cells(html, "flows") == {"pro": ["3", "2"], "free": ["2", "1"], "none": ["1", "0"]}
        link = f'<a href="{ROOT}products/paying?range=24h&amp;by=hour&amp;facet.plan=pro">2</a>'
        assert link in html, "each number leads to how it went"
        # What it held by plan at an instant in the past is not known: that is no zero.
        day = (clock.now() - timedelta(days=1)).date()
        past = f"processes/p_plain?from={day}&to={day}&by=hour&split=plan"
        html = staff.get(f"{ROOT}{past}").content.decode()
        assert {row[0].split()[0] for row in cells(html, "stocks").values()} == {"–"}
    reset()


def books(client: Client, address: str) -> dict[str, dict[str, Any]]:
    page: Any = client.get(address)
    names = [row["name"] for row in page.context["stocks"]]
    return dict(zip(names, page.context["balances"], strict=True))


def test_what_no_flow_counts_is_named_and_leads_to_the_rows(moved: None, admin_client: Client) -> None:
    address = f"{ROOT}processes/p_customers?range=24h&by=hour"
    html = admin_client.get(address).content.decode()
    assert "The books balance since they were opened, " in html
    assert books(admin_client, address)["trial"]["text"] == "0 + 10 − 7 = 3"
    tag = admin_client.get(address)["ETag"]
    one = Account.objects.filter(state="active").first()
    assert one is not None
    Account.objects.filter(pk=one.pk).update(state="trial")  # back to a trial: nothing counts that
    page = admin_client.get(address, headers={"If-None-Match": tag})
    assert page.status_code == 200
    html = page.content.decode()
    assert "The books do not balance: something moved since they were opened, " in html
    told = books(admin_client, address)
    assert (told["trial"]["text"], told["trial"]["off"]) == ("0 + 10 − 7 + 1 (counted by no flow) = 4", 1)
    assert told["paying"]["off"] == -1
    assert told["trial"]["rows_href"] == f"{ROOT}members/trial"
    assert f'<a href="{ROOT}members/trial">the rows that it holds</a>' in html
    meta = admin_client.get(address.replace("?", ".json?")).json()["meta"]
    assert meta["balanced"] is False
    assert meta["balanced_since"]
    assert "members/trial" not in Client().get(address).content.decode()
