"""The page of a process: what came into its main stock and what went, each number as the books have it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client, override_settings

from kck_flow import Cache, Process
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
