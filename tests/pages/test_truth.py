"""What pages say is so, and what they ask for it: stocks that last, statements that do not grow with products."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Q
from django.test import Client
from django.test.utils import CaptureQueriesContext

from kck_flow import Cache, Dashboard, Flow, IntegerParameter, Primer, Process, Stock, every
from kck_flow.cache import counted
from kck_flow.changes import triggers
from kck_flow.registry import registry
from kck_flow.testing import freeze_time, registered, reset, run_worker
from tests.accounts.models import Account
from tests.pages.conftest import ROOT, site
from tests.pages.test_overview import text_of, tile

__all__ = ["site"]
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
committed = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _as_declared(request: pytest.FixtureRequest) -> Iterator[None]:
    reset()
    yield
    reset()
    if "transactional_db" in request.fixturenames:
        triggers.install("default")


@pytest.fixture
def boss(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("truth_boss"))
    return client


def stocks(number: int, **given: Any) -> list[type[Stock]]:
    """Return so many stocks of accounts, each of one state."""
    return [
        type(
            f"Truth{place}",
            (Stock,),
            {
                "__doc__": f"Accounts of state {place}.",
                "key_base": f"truth_{place}",
                "model": Account,
                "members": Q(state=f"s{place}"),
                **given,
            },
        )
        for place in range(number)
    ]


def moving(own: Sequence[type[Stock]]) -> list[Any]:
    """Return a flow into each stock, one out of it, and a process of all."""
    flows = [
        type(
            f"TruthFlow{place}{way}",
            (Flow,),
            {
                "__doc__": "Accounts that move.",
                "key_base": f"truth_{way}_{place}",
                "sources": [one if way == "out" else None],
                "sinks": [one if way == "in" else None],
            },
        )
        for place, one in enumerate(own)
        for way in ("in", "out")
    ]
    whole = {"__doc__": "All of it.", "key_base": "truth_process", "stocks": list(own), "flows": flows}
    return [*flows, type("TruthProcess", (Process,), whole)]


def statements(client: Client, place: str) -> list[str]:
    with CaptureQueriesContext(connection) as seen:
        response = client.get(ROOT + place)
        text_of(response)
    assert response.status_code == 200, place
    return [
        one["sql"]
        for one in seen
        # Whether a worker lives is asked now and then, whatever the page shows.
        if not any(table in one["sql"] for table in ("django_session", "auth_user", "kck_worker"))
    ]


def per_page(client: Client, number: int, recorded: bool) -> dict[str, int]:
    """Return how many statements each page with so many stocks, and twice as many flows, takes."""
    own = stocks(number, **({"schedule": every(days=1)} if recorded else {}))
    with registered(*own, *moving(own)), ExitStack() as stack:
        triggers.install("default")
        for one in own:
            Cache.get_instance().refresh(one.key_base)
        found = {}
        if recorded:
            clock = stack.enter_context(freeze_time(MONDAY))
            run_worker()  # puts the schedules in force
            clock.move(days=1, minutes=5)
            run_worker()
        for place in ("", "overview.json", "overview.csv", "products", "products.json", "processes",
                      "metrics", "frames", "dashboards"):  # fmt: skip
            statements(client, place)
            found[place] = len(statements(client, place))
        return found


@committed
@pytest.mark.parametrize("recorded", [False, True])
def test_no_page_asks_more_of_the_database_for_more_products(
    site: None, boss: Client, recorded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What captures a table is believed for a second, which a page may begin in one of and end in another.
    monkeypatch.setattr(counted, "CAPTURED_SECONDS", 3600.0)
    Account.objects.bulk_create(Account(state=f"s{place % 6}") for place in range(24))
    few = per_page(boss, 2, recorded)
    reset()
    assert per_page(boss, 6, recorded) == few


@committed
def test_the_step_that_lasts_has_what_the_stock_holds_now(site: None, boss: Client) -> None:
    Account.objects.bulk_create(Account(state="s0") for _ in range(7))
    with ExitStack() as stack:
        stack.enter_context(registered(*stocks(1, schedule=every(days=1))))
        triggers.install("default")
        clock = stack.enter_context(freeze_time(MONDAY))
        run_worker()  # puts the schedule in force
        clock.move(days=1, hours=5)
        run_worker()
        Account.objects.bulk_create(Account(state="s0") for _ in range(2))
        assert Cache.get_instance().value_at("truth_0", clock()) == {"value": 7, "facets": {}}  # as recorded
        assert Cache.get_instance().get("truth_0")["value"] == 9
        assert '<span class="kck-number">9</span>' in tile(text_of(boss.get(ROOT)), "Accounts of state 0")
        html = text_of(boss.get(f"{ROOT}products/truth_0?range=7d"))
        table = re.findall(r"<tr>.*?</tr>", html[html.index("kck-chart") :], re.S)
        assert any(re.search(r">\s*9\b", row) for row in table)
        assert not any(re.search(r"<td[^>]*>\s*7\b", row) for row in table)
        for more in ("", "&by=day"):
            rows = json.loads(text_of(boss.get(f"{ROOT}products/truth_0.json?range=7d{more}")))["rows"]
            assert (rows[-1]["value"], rows[-1]["complete"]) == (9, False)
            lines = list(
                csv.DictReader(io.StringIO(text_of(boss.get(f"{ROOT}products/truth_0.csv?range=7d{more}"))))
            )
            assert (lines[-1]["value"], lines[-1]["complete"].lower()) == ("9", "false")


class Numbered(Primer):
    """Numbered things."""

    key_base = "truth_numbered"
    parameters = [IntegerParameter("number")]

    def compute(self, key: Any) -> int:
        return int(key.params["number"])


class Many(Dashboard):
    """More than a page has."""

    slug = "truth_many"
    panels = [f"truth_numbered/{number}" for number in range(203)]


def stored(numbers: Iterable[int]) -> None:
    """Store products as reads have them, without computing each."""
    numbered = registry.primer("truth_numbered")
    keys = [numbered.build_key(number=number) for number in numbers]
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO kck_product (digest, key, key_base, params, state, value, version, computed_at) "
            "SELECT d, k, 'truth_numbered', '{}', 'value', '1', 1, now() "
            "FROM unnest(%s::uuid[], %s::text[]) AS t (d, k)",
            [[key.digest for key in keys], [str(key) for key in keys]],
        )


@pytest.mark.django_db
def test_a_list_is_walked_to_its_end_however_long_it_is(site: None, boss: Client) -> None:
    with registered(Numbered):
        stored(range(10_500))
        place: str | None = f"{ROOT}products.json?limit=4000"
        seen: list[str] = []
        walked: set[int] = set()
        while place:
            with CaptureQueriesContext(connection) as asked:
                page = json.loads(text_of(boss.get(place)))
            walked.add(len(asked))
            seen += [row["key"] for row in page["rows"]]
            place = page["next"] and f"{ROOT}products.json?limit=4000&next={page['next']}"
        assert seen == sorted(f"truth_numbered/{number}" for number in range(10_500))
        assert len(walked) == 1  # each page takes as many statements as the first
        # What stands behind the ten thousandth is found, by its key and by its family's label.
        assert [
            row["key"]
            for row in json.loads(text_of(boss.get(f"{ROOT}products.json?q=numbered/9999 things")))["rows"]
        ] == ["truth_numbered/9999"]
        assert "More than 200 with “numbered” in their names." in text_of(
            boss.get(f"{ROOT}products?q=numbered")
        )
        assert "11 with “numbered/777” in their names." in text_of(boss.get(f"{ROOT}products?q=numbered/777"))
        assert json.loads(text_of(boss.get(f"{ROOT}products.json?q=numbered/777 nothing")))["rows"] == []


@pytest.mark.django_db
def test_what_may_not_be_seen_ends_no_page_early(site: None, boss: Client, client: Client) -> None:
    def odd(user: Any, action: str, key: Any) -> bool:
        return bool(getattr(key, "params", {"number": 1})["number"] % 2500 == 1)

    with registered(Numbered):
        stored(range(6000))
        Numbered.permission = staticmethod(odd)
        try:
            page = json.loads(text_of(boss.get(f"{ROOT}products.json?limit=2")))
            assert [row["key"] for row in page["rows"]] == ["truth_numbered/1", "truth_numbered/2501"]
            page = json.loads(text_of(boss.get(f"{ROOT}products.json?limit=2&next={page['next']}")))
            assert [row["key"] for row in page["rows"]] == ["truth_numbered/5001"]
            assert page["next"] is None
        finally:
            Numbered.permission = None


@pytest.mark.django_db
def test_a_page_says_what_it_leaves_out(site: None, boss: Client) -> None:
    registry.register_dashboard(Many)
    with registered(Numbered), ExitStack() as stack:
        stack.callback(registry.dashboards.pop, "truth_many")
        html = text_of(boss.get(f"{ROOT}dashboards/truth_many"))
        assert html.count('class="kck-tile-label"') == 200
        assert "3 more are not shown: a page has 200 at most." in html
        assert len(json.loads(text_of(boss.get(f"{ROOT}dashboards/truth_many.json")))["rows"]) == 200
