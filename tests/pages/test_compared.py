"""Two points of a history beside each other, and when a product was defined anew (experience §9 C)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import Q
from django.test import Client, override_settings

from kck_flow import Cache, Primer, Stock
from kck_flow.changes import triggers
from kck_flow.testing import freeze_time, registered, reset
from tests.pages.conftest import DAY, NOW, ROOT, SITE
from tests.pages.test_overview import text_of
from tests.shop.models import Order

MENU: dict[str, Any] = {}


class Menu(Primer):
    """What is on the menu."""

    key_base, label, keep_history, permission = "pc_menu", "Menu", True, "public"

    def compute(self, key: Any) -> Any:
        return dict(MENU)


@pytest.mark.django_db
def test_two_days_of_a_metric_are_compared(history: Any, staff: Client) -> None:
    page = f"{ROOT}metrics/p_signups?range=30d"
    html = text_of(staff.get(page))
    link = re.search(r'href="(\?range=30d[^"]*#kck-two)"', html)
    assert link is not None
    asked = link[1].replace("&amp;", "&").partition("#")[0]
    html = text_of(staff.get(f"{ROOT}metrics/p_signups{asked}"))
    # From 9 February (20 + 9 % 7) to 10 March (20 + 10 % 7).
    said = re.search(r'data-live="compared"><strong>(.*?)</strong>', html)
    assert said is not None
    assert (
        said[1].replace("\xa0", " ")
        == "Mon 9 Feb: 22 sign-ups · Tue 10 Mar: 23 sign-ups (in progress) · +1 (+4.5 %)"
    )
    assert html.count('<option value="2026-02-09T00:00:00+00:00" selected>') == 1
    assert '<input type="hidden" name="range" value="30d">' in html, "without a script, the range is kept"
    # Whichever is named first, time goes on.
    first, last = "one=2026-02-09T00:00:00%2B00:00", "other=2026-03-08T00:00:00%2B00:00"
    both = staff.get(f"{ROOT}metrics/p_signups.json?range=30d&{first}&{last}").json()["meta"]["compared"]
    assert both == [22, 21]
    turned = f"{first.replace('one', 'other')}&{last.replace('other', 'one')}"
    assert staff.get(f"{ROOT}metrics/p_signups.json?range=30d&{turned}").json()["meta"]["compared"] == both
    wrong = staff.get(f"{ROOT}metrics/p_signups.json?range=30d&one=2026-02-09&{last}")
    assert (wrong.status_code, wrong.json()["parameter"]) == (400, "one")
    assert "such as 2026-03-10T00:00:00+00:00" in wrong.json()["detail"]


@pytest.mark.django_db
def test_what_differs_between_two_values_is_shown_line_by_line(site: None, client: Client) -> None:
    with registered(Menu), freeze_time(NOW - DAY) as clock:
        MENU.update({"soup": "leek", "fish": "<trout>", "price": 7})
        Cache.get_instance().refresh("pc_menu")
        clock.set(NOW - DAY + timedelta(hours=3))
        MENU.update({"soup": "onion"})
        Cache.get_instance().refresh("pc_menu")
        clock.set(NOW)
        page = f"{ROOT}products/pc_menu"
        html = text_of(client.get(page))
        link = re.search(r'href="(\?[^"]*#kck-two)"', html)
        assert link is not None
        html = text_of(client.get(page + link[1].replace("&amp;", "&").partition("#")[0]))
        differ = re.search(r'data-live="differ"><code>(.*?)</code>', html, re.S)
        assert differ is not None
        assert "-  &quot;soup&quot;: &quot;leek&quot;" in differ[1]
        assert "+  &quot;soup&quot;: &quot;onion&quot;" in differ[1]
        assert "<trout>" not in html
        assert client.get(f"{page}.json?one=x").status_code == 400
        MENU.clear()


@pytest.mark.django_db(transaction=True)
def test_a_definition_that_was_changed_is_told_with_its_day(staff: Client) -> None:
    class Rule(Stock):
        key_base, model, members = "pc_rule", Order, Q(cents__gte=100)

    class Stricter(Stock):
        key_base, model, members = "pc_rule", Order, Q(cents__gte=200)

    reset()
    with override_settings(**SITE):
        with registered(Rule):
            triggers.install("default")
            Cache.get_instance().get("pc_rule")
            assert "Defined anew" not in text_of(staff.get(f"{ROOT}products/pc_rule"))
        with registered(Stricter):
            triggers.install("default")
            Cache.get_instance().get("pc_rule")
            html = text_of(staff.get(f"{ROOT}products/pc_rule"))
            assert html.count("Defined anew on") == 1
            assert "older values follow the older rule." in html
    reset()
