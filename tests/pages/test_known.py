"""A product's page tells what is known of it: by facet, made of what, kept how; and does what may be done to it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import Q
from django.test import Client
from django.test.utils import override_settings

from kck_flow import Cache, Facet, Flow, Primer, Process, Stock, cron, every
from kck_flow.changes import triggers
from kck_flow.dashboards import known
from kck_flow.dashboards.captions import caption
from kck_flow.models import DataProduct, Refresh
from kck_flow.registry import registry
from kck_flow.testing import freeze_time, registered, reset
from tests.pages.conftest import NOW, ROOT
from tests.pages.test_overview import text_of
from tests.shop.models import Customer, Order

pytestmark = pytest.mark.django_db


class Ground(Primer):
    """What stands below."""

    key_base = "p_ground"

    def compute(self, key: Any) -> int:
        return 1


class Floor(Primer):
    key_base, label = "p_floor", "Floor"

    def compute(self, key: Any) -> int:
        return Cache.get_instance().get("p_ground") + 1


class Roof(Primer):
    """What keeps the rain out."""

    key_base, label, soft_expire, hard_expire = "p_roof", "Roof", timedelta(hours=1), timedelta(days=2)
    schedule = cron("30 6 * * *", tz="Europe/Paris")

    def compute(self, key: Any) -> int:
        return Cache.get_instance().get("p_floor") + 1


class Big(Stock):
    """Orders that are large."""

    key_base, label, model, members = "p_big", "Big orders", Order, Q(cents__gte=100)
    facets = [Facet("state")]


class Placing(Flow):
    key_base, label, sources, sinks, window = "p_placing", "Placing", [None], [Big], "day"


class Orders(Process):
    key_base, label, stocks, flows = "p_orders", "Orders", [Big], [Placing]


class Marked(Primer):
    """What ``compute`` returns.

    Such as ``{"a": 1}``.
    """

    key_base = "p_marked"

    def compute(self, key: Any) -> int:
        return 1


def test_marks_of_docstrings_are_not_shown_to_people() -> None:
    with registered(Marked):
        words = caption(registry.key("p_marked"))
        assert words.label == "What compute returns"
        assert words.description == 'What compute returns.\n\nSuch as {"a": 1}.'


PUBLIC = override_settings(KCK_FLOW={"PERMISSION": "public"})


def test_lineage_goes_two_levels_and_names_the_oldest(site: None, client: Client) -> None:
    with PUBLIC, registered(Ground, Floor, Roof), freeze_time(NOW) as clock:
        cache = Cache.get_instance()
        cache.get("p_ground")
        clock.set(NOW + timedelta(hours=3))
        cache.get("p_roof")
        html = text_of(client.get(f"{ROOT}products/p_roof"))
        below = html.index("Needs"), html.index("Feeds")
        needs = html[below[0] : below[1]]
        assert needs.index("p_floor") < needs.index("p_ground"), "the nearest first"
        assert 'kck-further"><a href="/x/y/products/p_ground"' in needs
        told = re.sub(r"<[^>]+>", "", needs)
        assert "The oldest of what it is made of is What stands below, computed 3\xa0h ago." in told
        feeds = text_of(client.get(f"{ROOT}products/p_ground"))
        assert feeds.index("Feeds") < feeds.index("p_floor") < feeds.index("p_roof")


def test_it_says_how_a_product_is_kept(site: None, client: Client, staff: Client) -> None:
    with PUBLIC, registered(Ground, Floor, Roof), freeze_time(NOW):
        Cache.get_instance().get("p_roof")
        html = text_of(staff.get(f"{ROOT}products/p_roof"))
        assert (
            "Refreshed every day at 06:30, Europe/Paris. Fresh for 60\xa0min. Served for 48\xa0h."
            in html.replace("1\xa0h", "60\xa0min").replace("2\xa0d", "48\xa0h")
        )
        assert re.search(r"pages/test_known\.py:\d+", html), "who may know is told where it is declared"
        assert "/test_known.py" not in text_of(Client().get(f"{ROOT}products/p_roof"))


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        (cron("5 * * * *", tz="UTC"), "every hour, at minute 5"),
        (cron("0 0 * * *", tz="UTC"), "every day at 00:00, UTC"),
        (cron("0 0 * * MON", tz="UTC"), "0 0 * * MON in UTC"),
        (every(minutes=5), "every 5 minutes"),
    ],
)
def test_a_rhythm_is_told_as_people_would(schedule: Any, told: str) -> None:
    assert known.rhythm(schedule) == told


def test_a_stock_is_shown_by_facet_with_its_rows_flows_and_process(site: None, staff: Client) -> None:
    reset()
    with PUBLIC, registered(Big, Placing, Orders):
        triggers.install("default")
        for name, cents in (("Ann", [50, 50, 150]), ("Bob", [200] * 3)):
            customer = Customer.objects.create(name=name)
            for amount in cents:
                Order.objects.create(cents=amount, customer=customer, state=name)
        Cache.get_instance().get("p_big")
        response = staff.get(f"{ROOT}products/p_big")
        html = text_of(response)
        rows = re.findall(r'<a href="[^"]+">(\w+)</a><svg[^>]*><rect width="([\d.]+)"[^>]*></svg></th>\s*'
                          r'<td class="kck-right">(\d+)</td><td class="kck-right">([^<]+)<', html)  # fmt: skip
        assert rows == [("Bob", "75.0", "3", "75 %"), ("Ann", "25.0", "1", "25 %")]
        assert "rows of order" in html
        assert '<a href="/x/y/processes/p_orders">Orders</a>' in html
        assert re.search(r'in</span> <a href="/x/y/products/p_placing">Placing</a> <strong>', html)
        assert "cents" in html[html.index("Members") :], "the predicate, as SQL"
        bare = text_of(Client().get(f"{ROOT}products/p_big"))
        assert "kck-byfacet" in bare
        assert "Members" not in bare
    reset()


def test_values_of_a_facet_beyond_eight_are_told_together() -> None:
    words: Any = type("Words", (), {"number": staticmethod(str), "rollup": "last"})
    counts = {str(value): value for value in range(1, 12)} | {None: 0}
    (facet,) = known.facets_of(words, {"value": 66, "facets": {"plan": counts}})
    assert [row["value"] for row in facet["rows"]] == ["11", "10", "9", "8", "7", "6", "5", "4", "4 others"]
    assert sum(int(row["number"]) for row in facet["rows"]) == 66


def test_who_may_refreshes_and_invalidates_on_the_page(site: None) -> None:
    with (
        registered(Ground, Floor, Roof),
        override_settings(
            KCK_FLOW={"PERMISSION": "public"},
            MIDDLEWARE=[
                "django.contrib.sessions.middleware.SessionMiddleware",
                "django.middleware.csrf.CsrfViewMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware",
            ],
        ),
    ):
        Cache.get_instance().get("p_ground")
        assert "kck-deeds" not in text_of(Client().get(f"{ROOT}products/p_ground"))
        boss = Client(enforce_csrf_checks=True)
        boss.force_login(User.objects.create_superuser("boss"))
        html = text_of(boss.get(f"{ROOT}products/p_ground"))
        token = re.search(r'csrfmiddlewaretoken" value="([^"]+)"', html)
        assert token
        page = {"HTTP_ACCEPT": "text/html"}
        wanted = Refresh.objects.get(key="p_ground").want
        forged = boss.post(f"{ROOT}products/p_ground/invalidate", {}, **page)
        assert forged.status_code == 403
        done = boss.post(
            f"{ROOT}products/p_ground/refresh", {"csrfmiddlewaretoken": token[1]}, follow=False, **page
        )
        assert (done.status_code, done["Location"]) == (303, f"{ROOT}products/p_ground")
        assert Refresh.objects.get(key="p_ground").want == wanted + 1
        done = boss.post(
            f"{ROOT}products/p_ground/invalidate", {"csrfmiddlewaretoken": token[1]}, follow=True, **page
        )
        assert done.status_code == 200
        assert DataProduct.objects.get(key="p_ground").invalid_at is not None


@pytest.mark.django_db(transaction=True)
def test_a_tile_leads_to_its_rows_whoever_may_see_them(site: None, client: Client, staff: Client) -> None:
    head = Client()
    head.force_login(User.objects.create_superuser("head"))
    with PUBLIC, registered(Big, Placing, Orders):
        triggers.install("default")
        Cache.get_instance().get("p_big")
        link = f'<a class="kck-to-rows" href="{ROOT}members/p_big"'
        assert text_of(head.get(ROOT)).count(link) == 1
        for other in (client, staff):  # neither may see an order
            assert "kck-to-rows" not in text_of(other.get(ROOT))
        # What the tile says of a range that is over is not how many rows there are now.
        assert "kck-to-rows" not in text_of(head.get(ROOT, {"from": "2026-01-01", "to": "2026-01-31"}))
