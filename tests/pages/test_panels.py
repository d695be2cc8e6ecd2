"""Panels of every kind on one dashboard, in their own ranges and by facets; and the same in any template (175, 176)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.template import Context, Template, TemplateSyntaxError
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from kck_flow import Cache, Dashboard, Metric, Panel, Primer, Process, Section, TimeFrame, Topic
from kck_flow.checks import check_primers
from kck_flow.message_stream import MessageStream
from kck_flow.models import ConfiguredDashboard, ConfiguredPanel
from kck_flow.registry import registry
from kck_flow.streams import topics
from kck_flow.streams.log import send
from kck_flow.testing import registered, reset
from tests.accounts.models import Account
from tests.accounts.primers import Closed, Converting, Departing, Paying, SigningUp, Trial
from tests.pages.conftest import ROOT, SITE
from tests.pages.test_overview import text_of

pytestmark = pytest.mark.django_db(transaction=True)
BOOKS = "The books balance since they were opened"


class Customers(Process):
    """From the first try to the last day."""

    key_base, label, permission = "pn_customers", "Customers", "public"
    stocks, flows = [Trial, Paying, Closed], [SigningUp, Converting, Departing]


class Best(Primer):
    """Books that sold most."""

    key_base, label, permission = "pn_best", "Bestsellers", "public"

    def compute(self, key: Any) -> str:
        return "Emma"


class Visits(Metric):
    """People who came."""

    key_base, label, tz, unit, permission = "pn_visits", "Visits", "UTC", "visit", "public"

    def compute(self, key: Any, span: Any) -> int:
        return 10 + span.start.day


class Words(Topic):
    """How many words."""

    key_base, label, topics, windows, permission = "pn_words", "Words", ["pn_words"], ["1m", "1h"], "public"

    def process(self, state: Any, message: Any) -> Any:
        return (state or 0) + 1


class Said(TimeFrame):
    """What was said in an hour."""

    key_base, label, windows, permission = "pn_said", "Said", ["1h"], "public"
    stream = MessageStream("pn_words", watermark="latest")

    def compute(self, key: Any, items: Any) -> int:
        return len(list(items))


urlpatterns: list[Any] = []  # of a project that includes no pages
GUESTS = Panel("pn_visits", goal=500, title="Guests")


class Everything(Dashboard):
    """All that there is."""

    slug, permission = "everything", "public"
    panels = [
        Section("Numbers", ["paying", Panel("pn_best", "value"), GUESTS, "pn_words"]),
        Section(
            "Pictures",
            [
                Customers,
                Panel("pn_customers", "flows", by="hour", last=24),
                Panel("signing_up", "bars", facet="plan", by="hour", last=24),
                Panel("paying", "table", facet="plan"),
                Panel("pn_visits", "line", last=90, compare="none"),
                Panel("pn_visits", "line", last=7),
                Panel("pn_visits", "bars", wide=True),
                Panel("pn_said", "coverage", by="hour", last=24),
            ],
        ),
    ]  # fmt: skip


@pytest.fixture
def moved() -> Iterator[None]:
    """Ten who try it, six of them for one plan; five went on to pay."""
    reset()
    with (
        override_settings(**SITE, KCK_FLOW={"PERMISSION": "public"}),
        registered(Customers, Best, Visits, Words, Said),
    ):
        registry.register_dashboard(Everything)
        cache = Cache.get_instance()
        cache.refresh("pn_customers")
        cache.get("pn_best")
        plans = ["pro"] * 6 + ["free"] * 4
        trying = Account.objects.bulk_create([Account(state="trial", plan=plan) for plan in plans])
        Account.objects.filter(pk__in=[one.pk for one in trying[:5]]).update(state="active")
        topics.drain(["pn_words"])
        for number in range(3):
            send("pn_words", number, id=f"w{number}")
        topics.drain(["pn_words"])
        cache.refresh("pn_visits")
        yield
        registry.dashboards.pop("everything")
    reset()


def panel(html: str, label: str) -> str:
    """Return the panel whose heading is a label."""
    found = [one for one in re.split(r'(?=<div class="kck-panel[ "])', html)[1:] if f">{label}</a>" in one]
    assert found, f"no panel {label!r}"
    return found[0]


def test_one_page_has_panels_of_every_kind(moved: None, client: Client) -> None:
    response: Any = client.get(f"{ROOT}dashboards/everything")
    html = text_of(response)
    assert response.status_code == 200
    for label in ("Accounts that pay", "Guests", "Words"):
        assert re.search(rf'class="kck-tile[^>]*aria-label="{label}', html), label
    assert ">Emma</p>" in panel(html, "Bestsellers")
    whole = panel(html, "Customers")
    assert BOOKS in whole
    assert whole.count("<svg") == 2, "for a desk and for a phone"
    assert re.search(r"Converting|converting", whole)
    flows = panel(html, "Customers: Into and out of Accounts that try it")
    assert "10 came, 5 went, +5 net" in flows
    assert "Last 24 hours" in flows, "it has a range of its own, and says which"
    by_plan = panel(html, "Accounts that are new by plan")
    assert "pro 6, free 4" in by_plan
    table = re.sub(r"<[^>]+>", " ", panel(html, "Accounts that pay, deleted ones too by plan"))
    assert re.search(r"pro\s+5\s+100", table)
    assert "kck-wide" in re.split(r'(?=<div class="kck-panel[ "])', html)[-2]
    assert "1 of 1" not in html
    said = panel(html, "Said")
    assert said.count("<svg") == 2
    assert "0 frames are closed" in said


def test_each_id_of_the_page_is_one_things(moved: None, client: Client) -> None:
    html = text_of(client.get(f"{ROOT}dashboards/everything"))
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert sorted(ids) == sorted(set(ids))
    lives = re.findall(r'data-live="([^"]+)"', html)
    assert sorted(lives) == sorted(set(lives))
    for named in re.findall(r'(?:aria-labelledby|aria-describedby)="([^"]+)"', html):
        assert set(named.split()) <= set(ids)


def test_its_data_says_how_each_is_shown(moved: None, client: Client) -> None:
    told = client.get(f"{ROOT}dashboards/everything.json").json()
    shows = [(one["key"], one["show"]) for one in told["meta"]["panels"]]
    assert shows[:2] == [("paying", "number"), ("pn_best", "value")]
    assert ("pn_customers", "diagram") in shows
    assert ("pn_said", "coverage") in shows
    rows = {(row["section"], row["label"]): row["value"] for row in told["rows"]}
    assert rows["Numbers", "Accounts that pay, deleted ones too"] == 5
    assert len(told["rows"]) == len(told["meta"]["panels"])


def test_a_change_is_in_the_pages_version(moved: None, client: Client) -> None:
    before = client.get(f"{ROOT}dashboards/everything")
    same = client.get(f"{ROOT}dashboards/everything", headers={"If-None-Match": before["ETag"]})
    assert same.status_code == 304
    Account.objects.filter(state="active").update(plan="gold")  # no total moves, but what is by plan does
    after = client.get(f"{ROOT}dashboards/everything", headers={"If-None-Match": before["ETag"]})
    assert after.status_code == 200


def test_panels_cost_as_many_statements_as_their_kinds(moved: None, client: Client) -> None:
    row = ConfiguredDashboard.objects.create(slug="many", label="Many", permission="public")

    def statements(number: int) -> int:
        ConfiguredPanel.objects.filter(dashboard=row).delete()
        for at in range(number):
            ConfiguredPanel.objects.create(
                dashboard=row, position=at, key="pn_visits", show=("line", "bars", "table")[at % 3]
            )
        client.get(f"{ROOT}dashboards/many")
        with CaptureQueriesContext(connection) as asked:
            assert client.get(f"{ROOT}dashboards/many").status_code == 200
        return len(asked)

    assert statements(12) == statements(3)


def test_its_rows_take_effect_as_they_are_saved(moved: None, client: Client) -> None:
    row = ConfiguredDashboard.objects.create(slug="mine", label="Mine", permission="public")
    one = ConfiguredPanel.objects.create(dashboard=row, key="pn_customers", show="diagram")
    assert BOOKS in text_of(client.get(f"{ROOT}dashboards/mine"))
    one.show, one.options = "flows", {"last": 24, "by": "hour", "title": "Who came"}
    one.save()
    html = text_of(client.get(f"{ROOT}dashboards/mine"))
    assert BOOKS not in html
    assert "10 came, 5 went" in panel(html, "Who came: Into and out of Accounts that try it")


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        ({"key": "pn_customers", "show": "line"}, "show", "A process is shown as diagram, flows, table"),
        ({"key": "paying", "show": "diagram"}, "show", "This product is shown as number, line, bars, table, value"),
        ({"key": "pn_said", "show": "flows"}, "show", "A time frame is shown as"),
        ({"key": "paying", "show": "line", "options": {"facet": "plam"}}, "options", "Its facets are: plan"),
        ({"key": "pn_visits", "show": "line", "options": {"facet": "plan"}}, "options", "Its facets are: none"),
        ({"key": "paying", "options": {"facet": "plan"}}, "options", "facet means nothing"),
        ({"key": "pn_customers", "options": {"goal": 5}}, "options", "goal means nothing"),
        ({"key": "paying", "options": {"goal": "many"}}, "options", "a number to be reached"),
    ],
)  # fmt: skip
def test_what_would_not_show_is_refused_where_it_is_said(
    moved: None, given: dict[str, Any], field: str, said: str
) -> None:
    row = ConfiguredDashboard.objects.create(slug="wrong", label="Wrong")
    with pytest.raises(ValidationError) as refused:
        ConfiguredPanel.objects.create(dashboard=row, **given)
    assert said in str(refused.value.message_dict[field])


def test_a_declared_panel_that_is_wrong_is_told_by_the_checks_and_takes_no_page_down(
    moved: None, client: Client, staff: Client
) -> None:
    class Wrong(Dashboard):
        slug, permission = "wrong", "every.body.knows"
        panels = [
            Panel("pn_customers", "line"),
            Panel("pn_custommers"),
            Panel("paying", "table", facet="plam"),
            Panel("branch_accounts"),
            Panel("branch_accounts/{brunch}"),
            "paying",
        ]

    registry.register_dashboard(Wrong)
    try:
        told = [one.msg for one in check_primers() if one.id == "kck_flow.E017"]
        for said in (
            "A process is shown as diagram, flows, table; not as 'line'.",
            "No primer is named 'pn_custommers'. Did you mean 'pn_customers'?",
            "'paying' has no facet 'plam'",
            "'branch_accounts' needs 'branch', which the dashboard has no parameter for.",
            "{brunch} is no parameter of the dashboard.",
            "permission is 'every.body.knows'",
        ):
            assert [one for one in told if said in one], (said, told)
        assert len(told) == 6
        assert all("test_panels.py:" in one for one in told)
        Wrong.permission = "public"
        html = text_of(staff.get(f"{ROOT}dashboards/wrong"))
        assert "A process is shown as" in html
        assert 'aria-label="Accounts that pay' in html
        html = text_of(Client().get(f"{ROOT}dashboards/wrong"))
        assert "A process is shown as" not in html
        assert "A panel of this page cannot be shown." in html
    finally:
        registry.dashboards.pop("wrong")
    assert not [one for one in check_primers() if one.id == "kck_flow.E017"]


def render(text: str) -> str:
    return Template("{% load kck_flow %}" + text).render(Context({"user": None}))


def test_any_template_has_the_same_panels(moved: None) -> None:
    html = render(
        '{% kck_panel "pn_customers" %}{% kck_panel "pn_customers" show="flows" last=24 by="hour" %}'
    )
    assert html.count("<svg") == 2, "one each: whose page it is knows how wide it is"
    assert "kck-on-desk" not in html
    assert BOOKS in html
    assert "10 came, 5 went" in html
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert sorted(ids) == sorted(set(ids))
    assert "pro 6, free 4" in render('{% kck_panel "signing_up" show="bars" last=1 facet="plan" %}')
    assert "<svg" in render('{% kck_panel "pn_said" show="coverage" last=24 by="hour" %}')
    dark = render('{% kck_panel "pn_customers" theme="dark" %}')
    assert dark.count("<svg") == 1
    for wrong, said in (
        ('show="line"', "A process is shown as"),
        ('facet="plam"', "has no facet 'plam'"),
    ):
        with pytest.raises(TemplateSyntaxError, match=said):
            render('{% kck_panel "pn_customers" ' + wrong + " %}")


def test_a_project_without_the_pages_has_panels_of_what_needs_none(moved: None) -> None:
    with override_settings(ROOT_URLCONF="tests.pages.test_panels"):
        assert "<svg" in render('{% kck_panel "signing_up" show="bars" last=1 facet="plan" %}')
        for show in ("diagram", "flows"):
            html = render('{% kck_panel "pn_customers" show="' + show + '" %}')
            assert "<svg" in html
            assert "href" not in html


def test_windows_of_a_minute_are_not_drawn_by_the_ten_thousand(moved: None, client: Client) -> None:
    class Fine(Topic):
        """Words by the minute."""

        key_base, topics, window, permission = "pn_fine", ["pn_words"], "1m", "public"

        def process(self, state: Any, message: Any) -> Any:
            return (state or 0) + 1

    # Of several sizes, the one that fits the steps: 30 days and the 30 before, by the hour.
    page: Any = client.get(f"{ROOT}products/pn_words?range=30d")
    assert 700 < len(page.context["trend"].points) <= 721
    page = client.get(f"{ROOT}products/pn_words?range=1h&by=hour")
    assert len(page.context["trend"].points) == 1
    page = client.get(f"{ROOT}products/pn_words/1m?from=2026-03-01T10:00Z&to=2026-03-01T11:00Z")
    assert len(page.context["trend"].points) == 60, "the size that is asked for"
    with registered(Fine):
        topics.drain(["pn_fine"])
        assert "too many to be shown" in text_of(client.get(f"{ROOT}products/pn_fine?range=30d"))
        page = client.get(f"{ROOT}products/pn_fine?range=24h")
        assert len(page.context["trend"].points) >= 60 * 23
