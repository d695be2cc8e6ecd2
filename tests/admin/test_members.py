"""The rows behind a stock's number: in the site's own list of them, on every site, and on a page where it has none."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from kck_flow.dashboards import members
from kck_flow.models import Event
from tests.accounts.models import Account
from tests.admin.conftest import clerk

pytestmark = pytest.mark.django_db
LIST = "/admin/accounts/account/"


@pytest.fixture
def accounts(counted: None) -> list[Account]:
    """Six that try (four of them with a plan), three that pay."""
    plans = ["pro", "pro", "pro", "free", None, ""]
    return [Account.objects.create(state="trial", plan=plan) for plan in plans] + [
        Account.objects.create(state="active", plan="pro") for _ in range(3)
    ]


def text_of(response: Any) -> str:
    assert response.status_code == 200, (response.status_code, getattr(response, "url", ""))
    return str(response.content.decode())


def listed(text: str) -> list[int]:
    return [int(one) for one in re.findall(r'name="_selected_action" value="(\d+)"', text)]


@pytest.mark.parametrize("prefix", ["admin", "office"])
def test_a_list_shows_the_members_of_a_stock(accounts: list[Account], staff: Client, prefix: str) -> None:
    address = f"/{prefix}/accounts/account/"
    every = text_of(staff.get(address))
    assert len(listed(every)) == 9
    assert "kck_stock=a_trying" in every
    assert "Showing members" not in every
    text = text_of(staff.get(address, {"kck_stock": "a_trying"}))
    assert sorted(listed(text)) == sorted(one.pk for one in accounts[:6])
    assert "Showing members of <strong>Accounts that try</strong>: 6 counted, as of now." in text
    assert '<a href="/x/y/processes/a_subscribing">See How accounts come to pay</a>' in text
    assert "plan = pro (3)" in text
    assert "Showing members" not in text_of(staff.get(address)), "the banner stays on its page"


def test_a_facet_is_a_further_choice(accounts: list[Account], staff: Client) -> None:
    text = text_of(staff.get(LIST, {"kck_stock": "a_trying"}))
    links = dict(re.findall(r'<a href="(\?[^"]*kck_facet[^"]*)">\s*› ([^<]+)</a>', text))
    found = {label.strip(): href.replace("&amp;", "&") for href, label in links.items()}
    assert set(found) == {"plan = pro (3)", "plan = free (1)", "plan = none (1)", "plan = empty (1)"}
    for label, plan in {"plan = pro (3)": "pro", "plan = none (1)": None, "plan = empty (1)": ""}.items():
        text = text_of(staff.get(LIST + found[label]))
        assert sorted(listed(text)) == sorted(one.pk for one in accounts[:6] if one.plan == plan), label
    assert "facet plan = empty" in text


def test_the_sites_own_search_and_actions_work_on_members(accounts: list[Account], staff: Client) -> None:
    asked = {"kck_stock": "a_trying", "kck_facet": json.dumps({"plan": "pro"})}
    assert len(listed(text_of(staff.get(LIST, {**asked, "q": "pro"})))) == 3
    assert listed(text_of(staff.get(LIST, {**asked, "q": "free"}))) == []
    response = staff.post(
        f"{LIST}?kck_stock=a_trying",
        {"action": "praise", "_selected_action": [str(accounts[0].pk)], "select_across": "1"},
    )
    assert response.status_code == 302
    praised = Account.objects.filter(note="praised")
    assert sorted(praised.values_list("pk", flat=True)) == sorted(one.pk for one in accounts[:6])


def test_what_is_no_stock_of_these_rows_is_refused(accounts: list[Account], staff: Client) -> None:
    for asked in (
        {"kck_stock": "nothing"}, {"kck_stock": "a_starting"}, {"kck_stock": "open_orders"},
        {"kck_stock": "a_trying", "kck_facet": "{"}, {"kck_stock": "a_trying", "kck_facet": '{"size": 1}'},
    ):  # fmt: skip
        response = staff.get(LIST, asked)
        assert response.status_code == 302, asked
        assert response["Location"].endswith("?e=1")


def test_a_stock_with_parameters_is_asked_for_by_its_key(counted: None, staff: Client) -> None:
    from tests.accounts.models import Branch

    branch, other = Branch.objects.create(name="one"), Branch.objects.create(name="two")
    here = Account.objects.create(state="active", branch=branch)
    Account.objects.create(state="active", branch=other)
    text = text_of(staff.get(LIST, {"kck_stock": f"branch_accounts/{branch.pk}"}))
    assert listed(text) == [here.pk]


def test_the_pages_lead_to_the_sites_own_list(accounts: list[Account], staff: Client) -> None:
    response = staff.get("/x/y/members/a_trying", {"facet.plan": "pro"})
    assert response.status_code == 302
    assert (
        response["Location"]
        == "/admin/accounts/account/?kck_stock=a_trying&kck_facet=%7B%22plan%22%3A%22pro%22%7D"
    )
    assert len(listed(text_of(staff.get(response["Location"])))) == 3
    asked = staff.get("/x/y/members/a_trying", headers={"Accept": "application/json"})
    assert len(json.loads(text_of(asked))["rows"]) == 6


def test_a_number_leads_to_its_rows_for_whoever_may_see_them(
    accounts: list[Account], site: None, client: Client
) -> None:
    link = 'href="/x/y/members/a_trying"'
    user = clerk(client)
    assert link not in text_of(client.get("/x/y/products/a_trying.html"))
    user.delete()
    clerk(client, "accounts.view_account")
    assert link in text_of(client.get("/x/y/products/a_trying.html"))


def walk(client: Client, address: str) -> list[list[int]]:
    """Follow ``next`` from page to page; returns the keys of each."""
    found = []
    while address:
        body = json.loads(text_of(client.get(address)))
        found.append([row["id"] for row in body["rows"]])
        address = f"/x/y/members/a_trying.json?limit=2&next={body['next']}" if body["next"] else ""
    return found


def test_a_page_goes_on_by_key_while_rows_move_out(
    accounts: list[Account], site: None, client: Client
) -> None:
    clerk(client, "accounts.view_account")
    first = json.loads(text_of(client.get("/x/y/members/a_trying.json?limit=2")))
    assert [row["id"] for row in first["rows"]] == [accounts[0].pk, accounts[1].pk]
    # One that was shown leaves, and one that was not; what was shown never comes again, and no other is left out.
    Account.objects.filter(pk__in=[accounts[0].pk, accounts[3].pk]).update(state="closed")
    rest = walk(client, f"/x/y/members/a_trying.json?limit=2&next={first['next']}")
    assert [pk for page in rest for pk in page] == [accounts[2].pk, accounts[4].pk, accounts[5].pk]
    assert first["meta"]["counted"] == 6
    assert first["meta"]["now"] == 6


def test_a_page_goes_back_by_key(accounts: list[Account], site: None, client: Client) -> None:
    clerk(client, "accounts.view_account")
    text = text_of(client.get("/x/y/members/a_trying.html?limit=2"))
    assert 'rel="prev"' not in text

    def follow(text: str, rel: str) -> str:
        found = re.search(rf'href="([^"]+)" rel="{rel}"', text)
        assert found is not None, rel
        address = found[1].replace("&amp;", "&").replace("members/a_trying?", "members/a_trying.html?")
        return text_of(client.get(address))

    def rows(text: str) -> list[int]:
        return [int(one) for one in re.findall(r'<tr><th scope="row">(\d+)</th>', text)]

    keys = [one.pk for one in accounts[:6]]
    second = follow(text, "next")
    third = follow(second, "next")
    assert (rows(text), rows(second), rows(third)) == (keys[:2], keys[2:4], keys[4:])
    assert 'rel="next"' not in third
    assert rows(follow(third, "prev")) == keys[2:4]
    assert rows(follow(follow(third, "prev"), "prev")) == keys[:2]
    assert "6 counted, as of now. 6 now." in re.sub(r"\s+", " ", text)


def test_a_csv_of_members_has_all_of_them_and_no_secrets(
    accounts: list[Account], site: None, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "PER_PAGE", 4)
    clerk(client, "accounts.view_account")
    response: Any = client.get("/x/y/members/a_trying.csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode())))
    assert [int(row["id"]) for row in rows] == [one.pk for one in accounts[:6]]
    response = client.get("/x/y/members/a_trying.csv?limit=2")
    lines = b"".join(response.streaming_content).decode().splitlines()
    assert len(lines) == 4
    assert "# cut" in lines[-1]


def test_a_number_may_be_public_and_who_is_behind_it_not(
    accounts: list[Account], site: None, client: Client
) -> None:
    assert client.get("/x/y/members/a_trying.json").status_code == 401
    clerk(client)
    assert client.get("/x/y/products/a_trying.json").status_code == 200
    assert client.get("/x/y/members/a_trying.json").status_code == 403
    assert client.get("/x/y/members/a_trying").status_code == 403
    assert client.get("/x/y/members/a_menu.json").status_code == 404


def test_a_wrong_parameter_of_members_is_refused(accounts: list[Account], site: None, client: Client) -> None:
    clerk(client, "accounts.view_account")
    for query in ("next=x", "next=WzAsImEiXQ", "limit=0", "count=all", "facet.size=1", "fcet.plan=pro"):
        status = client.get(f"/x/y/members/a_trying.json?{query}").status_code
        assert status == (404 if query.startswith("facet") else 400), query
    body = json.loads(text_of(client.get("/x/y/members/a_trying.json?count=exact&facet.plan=null")))
    assert (body["meta"]["now"], len(body["rows"])) == (1, 1)


def test_a_page_of_members_takes_the_same_few_statements(
    accounts: list[Account], site: None, client: Client
) -> None:
    clerk(client, "accounts.view_account")
    counts = []
    text_of(client.get("/x/y/members/a_trying.html"))
    for _ in range(2):
        with CaptureQueriesContext(connection) as seen:
            text_of(client.get("/x/y/members/a_trying.html"))
        counts.append(len(seen))
        Account.objects.bulk_create(Account(state="trial", plan="pro") for _ in range(50))
    assert counts[0] == counts[1]


# -- what flows have kept


@pytest.mark.parametrize("prefix", ["admin", "office"])
def test_a_row_has_its_history_in_flows_beside_its_own(
    accounts: list[Account], staff: Client, prefix: str
) -> None:
    Account.objects.filter(pk=accounts[0].pk).update(state="active")
    address = f"/{prefix}/accounts/account/{accounts[0].pk}"
    text = text_of(staff.get(f"{address}/change/"))
    assert f'href="{address}/flows/"' in text
    text = text_of(staff.get(f"{address}/flows/"))
    row = re.search(r"<tbody><tr>(.*?)</tr>", text, re.S)
    assert row is not None
    for part in ("Accounts that try", "Accounts that pay us", "Accounts that begin to pay"):
        assert part in row[1]
    assert "No flow has kept" in text_of(staff.get(f"/{prefix}/accounts/account/{accounts[7].pk}/flows/"))


@pytest.mark.parametrize("prefix", ["admin", "office"])
def test_events_say_who_moved_and_outlive_the_row(
    accounts: list[Account], staff: Client, prefix: str
) -> None:
    gone = accounts[0].pk
    Account.objects.filter(pk__in=[gone, accounts[1].pk]).update(state="active")
    Account.objects.filter(pk=gone).delete()
    address = f"/{prefix}/kck_flow/event/"
    text = text_of(staff.get(address, {"key_base": "a_starting"}))
    assert f"accounts.Account {gone}" in text
    assert f'<a href="/{prefix}/accounts/account/{accounts[1].pk}/change/">' in text
    text = text_of(staff.get(address, {"q": str(gone)}))
    assert f"accounts.Account {accounts[1].pk}" not in text
    event = Event.objects.get(subject_id=str(gone))
    response: Any = staff.post(address, {"action": "export", "_selected_action": [str(event.pk)]})
    assert f"accounts.Account,{gone}" in b"".join(response.streaming_content).decode()


def test_events_of_rows_that_somebody_may_not_see_are_not_shown(
    accounts: list[Account], site: None, client: Client
) -> None:
    Account.objects.filter(pk=accounts[0].pk).update(state="active")
    event = Event.objects.get(key_base="a_starting")
    clerk(client, "kck_flow.view_event")
    assert "accounts.Account" not in text_of(client.get("/admin/kck_flow/event/")).partition("result_list")[2]
    assert client.get(f"/admin/kck_flow/event/{event.pk}/change/").status_code == 403
