"""Edges of pages: ranges, broken rows, hostile texts, and who is told what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import Q
from django.test import Client
from django.utils import translation

from kck_flow import Cache, Dashboard, Flow, Metric, Primer, Process, Stock, StringParameter, wording
from kck_flow.dashboards import ranges
from kck_flow.models import ConfiguredMetric
from kck_flow.permission import may
from kck_flow.refresh import collecting
from kck_flow.registry import registry
from kck_flow.testing import registered
from tests.pages.conftest import NOW, ROOT
from tests.pages.test_overview import name_of, text_of
from tests.shop.models import Order

pytestmark = pytest.mark.django_db


def rows_of(client: Client, place: str) -> dict[str, Any]:
    return {row["key"]: row for row in json.loads(text_of(client.get(ROOT + place)))["rows"]}


# -- ranges


def test_a_range_that_is_over_has_its_own_number(history: Any, staff: Client) -> None:
    rows = rows_of(staff, "overview.json?from=2026-02-01&to=2026-02-10")
    assert rows["p_share"]["value"] == str(Decimal(30 + 10 % 5) / 100)
    assert rows["p_signups"]["value"] == sum(20 + day % 7 for day in range(1, 11))


def test_days_are_not_counted_by_the_hour(history: Any, staff: Client) -> None:
    html = text_of(staff.get(f"{ROOT}?range=24h"))
    assert name_of(html, "Sign-ups").startswith(
        "Sign-ups 23 sign-ups today"
    )  # those that begin within 24 hours


@pytest.mark.parametrize(
    ("given", "now", "start", "before"),
    [
        # as many weeks, so that whole weeks meet whole weeks
        ({"range": "4w", "compare": "year"}, NOW, "2026-02-16", ("2025-02-17", 4)),
        # across a change of the clock as many hours
        ({"range": "24h", "tz": "Europe/Paris"}, datetime(2026, 3, 29, 12, 30, tzinfo=UTC), None, (None, 24)),
        (
            {"range": "7d", "tz": "Europe/Paris"},
            datetime(2026, 3, 31, 12, tzinfo=UTC),
            "2026-03-25",
            ("2026-03-18", 7),
        ),
        ({"range": "12m"}, NOW, "2025-04-01", ("2024-04-01", 12)),
    ],
)
def test_what_is_compared_is_as_long(given: Any, now: datetime, start: str | None, before: Any) -> None:
    over = ranges.read(given, now)
    older = over.before()
    assert older is not None
    if start is not None:
        assert over.start.astimezone(over.zone).date().isoformat() == start
        assert older[0].astimezone(over.zone).date().isoformat() == before[0]
    assert over.steps == before[1]
    if over.by == "hour":
        assert older[1] - older[0] == over.until - over.start


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"range": "thirty"}, "range"), ({"by": "fortnight"}, "by"), ({"compare": "privious"}, "compare"),
        ({"tz": "Mars/Base"}, "tz"), ({"from": "yesterday"}, "from"), ({"complete": "perhaps"}, "complete"),
        ({"from": "2026-02-01", "to": "2026-01-01"}, "from"), ({"range": "9999d", "by": "hour"}, "by"),
        ({"from": "0001-01-01"}, "from"),
    ],
)  # fmt: skip
def test_what_is_asked_wrongly_is_named(given: Any, name: str) -> None:
    with pytest.raises(ranges.BadParameter) as refused:
        ranges.read(given, NOW)
    assert refused.value.name == name


# -- what is broken


def test_one_row_that_does_not_fit_its_type_any_more_takes_nothing_down(history: Any, staff: Client) -> None:
    Metric.create("count_rows", "fits", model="shop.Author", label="Fits")
    Metric.create("count_rows", "broken", model="shop.Author", label="Breaks")
    list(collecting.collect(["fits"]))
    ConfiguredMetric.objects.filter(slug="broken").update(properties={"model": "shop.Gone"})
    for place in ("", "metrics", "products"):
        assert staff.get(ROOT + place).status_code == 200, place
    assert "Fits" in text_of(staff.get(ROOT))
    ConfiguredMetric.objects.filter(slug="broken").update(type="gone")
    assert staff.get(ROOT).status_code == 200


@pytest.mark.parametrize(
    "number", [1e30, 10**40, Decimal(10) ** 35 + Decimal("0.5"), float("inf"), -0.0, 1e-9]
)
def test_no_number_takes_a_page_down(history: Any, staff: Client, number: Any) -> None:
    Cache.get_instance().set("odd", number)
    assert staff.get(f"{ROOT}products").status_code == 200
    assert staff.get(f"{ROOT}products/odd").status_code == 200


@pytest.mark.parametrize(
    "text", ['<b>"x"</b>', "a%2Fb", "日本" * 30, "x" * 3000, "..", "{{ 1 }}", "report.json"]
)
def test_hostile_texts_are_texts(history: Any, staff: Client, text: str) -> None:
    class Named(Primer):
        key_base, label, parameters = "p_named", text[:200], [StringParameter("name")]

        def compute(self, key: Any) -> int:
            return 1

    with registered(Named):
        Cache.get_instance().get(registry.primer("p_named").build_key(name=text))
        html = text_of(staff.get(f"{ROOT}products?q=p_named"))
        assert "<b>" not in html.replace("<body", "")
        (row,) = (
            row
            for row in json.loads(text_of(staff.get(f"{ROOT}products.json")))["rows"]
            if row["label"] != "Sign-ups" and row["key"].startswith("p_named")
        )
        response = staff.get(row["href"])
        assert response.status_code == 200
        assert "<b>" not in text_of(response).replace("<body", "")


# -- who is told what


class Payroll(Primer):
    """What nobody may know."""

    key_base, permission = "p_payroll", "nobody"

    def compute(self, key: Any) -> int:
        raise RuntimeError("Mr Smith: 123456")


class Open(Primer):
    """What everybody may know."""

    key_base, permission = "p_open", "public"

    def compute(self, key: Any) -> int:
        return int(Cache.get_instance().get("p_payroll"))


class Front(Dashboard):
    """For the head alone."""

    slug, permission, panels = "overview", "superuser", ["p_open", "p_gone"]


@pytest.fixture
def secret(site: None) -> Iterator[None]:
    with registered(Payroll, Open):
        with pytest.raises(Exception, match="Mr Smith"):
            Cache.get_instance().get("p_open")
        yield


def test_a_failure_says_to_strangers_only_that_there_was_one(secret: None, client: Client) -> None:
    html = text_of(client.get(f"{ROOT}products/p_open"))
    assert "failed once" in html
    for hidden in ("Smith", "p_payroll", "What nobody may know", "test_edges.py"):
        assert hidden not in html
    client.force_login(User.objects.create_user("staff", is_staff=True))
    assert "Smith" in text_of(client.get(f"{ROOT}products/p_open"))


def test_a_front_page_of_ones_own_is_for_whom_it_says(secret: None, client: Client) -> None:
    registry.register_dashboard(Front)
    try:
        assert "For the head alone" not in text_of(client.get(ROOT))
        client.force_login(User.objects.create_superuser("head"))
        html = text_of(client.get(ROOT))
        assert "For the head alone" in html
        assert "p_gone" in html  # the staff is told which panel cannot be shown
    finally:
        del registry.dashboards["overview"]


def test_a_process_is_seen_by_who_may_see_all_of_it(site: None, client: Client) -> None:
    class Kept(Stock):
        key_base, model, members = "p_kept", Order, Q(state="open")

    class Sent(Stock):
        key_base, model, members, permission = "p_sent", Order, Q(state="sent"), "public"

    class Sending(Flow):
        key_base, sources, sinks, permission = "p_sending", [Kept], [Sent], "public"

    class Shown(Process):
        key_base, permission, stocks, flows = "p_process", "public", [Kept, Sent], [Sending]

    with registered(Kept, Sent, Sending, Shown):
        assert not may(None, "view", registry.key("p_process"))
        for place in ("processes", "products"):
            assert client.get(f"{ROOT}{place}/p_process.json").status_code == 401
        Kept.permission = "public"
        assert may(None, "view", registry.key("p_process"))


def test_what_a_page_says_is_in_its_version(history: Any, staff: Client) -> None:
    one = staff.get(f"{ROOT}metrics/p_signups")["ETag"]
    assert staff.get(f"{ROOT}metrics/p_signups")["ETag"] == one
    registry.primer("p_signups").goal = 31
    try:
        assert staff.get(f"{ROOT}metrics/p_signups")["ETag"] != one
    finally:
        registry.primer("p_signups").goal = 30


# -- words


@pytest.mark.parametrize(
    ("value", "form", "precision", "said"),
    [
        (4391, "number", None, "4,391"), (Decimal("0.5"), "percent", None, "50 %"), (-0.004, "number", 2, "0.00"),
        (0, "number", None, "0"), (None, "number", None, "–"), (-12.5, "number", None, "−12.5"),
        (3300, "duration", None, "55 min"), (Decimal(10) ** 30, "number", 2, "1" + ",000" * 10 + ".00"),
        (1200, "bytes", None, "1.2 kB"), (float("nan"), "number", None, "–"),
        (Decimal("0.00012"), "number", None, "0.00012"),
    ],
)  # fmt: skip
def test_numbers_are_said_as_people_read_them(
    value: Any, form: str, precision: int | None, said: str
) -> None:
    with translation.override("en"):
        assert wording.number(value, form, precision).replace("\u00a0", " ") == said


def test_a_change_that_is_not_seen_is_none() -> None:
    with translation.override("en"):
        assert wording.change(0.1 + 0.2, 0.3) == ("same", "0", "")
        assert wording.change(Decimal("0.31"), Decimal("0.3"), "percent")[1] == "+1 point"
        assert wording.change(5, 0) == ("up", "+5", "")


def test_numbers_follow_the_language() -> None:
    with translation.override("de"):
        assert wording.number(Decimal("1234.5")) == "1.234,5"
