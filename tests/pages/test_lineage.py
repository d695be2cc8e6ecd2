"""All that a product is made of, and all that is made of it: a page with four faces (experience §9 C)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from kck_flow import Cache, IntegerParameter, Primer
from kck_flow.registry import registry
from kck_flow.store import edges as saved
from kck_flow.store.session import caller
from kck_flow.testing import registered, reset
from tests.pages.conftest import ROOT
from tests.pages.test_overview import text_of

pytestmark = pytest.mark.django_db


class Ground(Primer):
    """What stands below."""

    key_base, label, permission = "l_ground", "Ground", "staff"

    def compute(self, key: Any) -> int:
        return 1


class Cellar(Primer):
    """What few may see."""

    key_base, label, permission = "l_cellar", "Cellar", "accounts.view_account"

    def compute(self, key: Any) -> int:
        return Cache.get_instance().get("l_ground") + 1


class Floor(Primer):
    key_base, label, permission = "l_floor", "Floor", "staff"

    def compute(self, key: Any) -> int:
        return Cache.get_instance().get("l_ground") + Cache.get_instance().get("l_cellar")


class Roof(Primer):
    key_base, label, permission = "l_roof", "Roof", "staff"

    def compute(self, key: Any) -> int:
        return Cache.get_instance().get("l_floor") + Cache.get_instance().get("l_ground")


class Alone(Primer):
    key_base, label, permission = "l_alone", "Alone", "staff"

    def compute(self, key: Any) -> int:
        return 5


class Guest(Primer):
    key_base, permission = "l_guest", "staff"
    parameters = [IntegerParameter("number")]

    def compute(self, key: Any) -> int:
        return 1


@pytest.fixture
def house(site: None, db: None) -> Iterator[None]:
    reset()
    with ExitStack() as stack:
        stack.enter_context(registered(Ground, Cellar, Floor, Roof, Alone, Guest))
        for key in ("l_roof", "l_alone"):
            Cache.get_instance().get(key)
        yield
    reset()


def edges(response: Any) -> set[tuple[str, str]]:
    return {(row["needed"], row["by"]) for row in json.loads(text_of(response))["rows"]}


def test_the_whole_of_it_is_told_in_four_faces(house: None, staff: Client) -> None:
    User.objects.get(username="staff").user_permissions.add(
        Permission.objects.get(codename="view_account", content_type__app_label="accounts")
    )
    wanted = {
        ("l_ground", "l_cellar"), ("l_ground", "l_floor"), ("l_cellar", "l_floor"), ("l_floor", "l_roof"),
        ("l_ground", "l_roof"),
    }  # fmt: skip
    assert edges(staff.get(f"{ROOT}lineage/l_roof.json")) == wanted
    assert edges(staff.get(f"{ROOT}lineage/l_ground.json")) == wanted
    html = text_of(staff.get(f"{ROOT}lineage/l_roof"))
    assert '<p class="kck-lead" data-live="sentence">It needs 3 products; 0 need it.</p>' in html
    picture = re.search(r"<svg.*?</svg>", html[html.index('data-live="picture"') :], re.S)
    assert picture is not None
    assert re.findall(r'<a href="([^"]*)"[^>]*aria-label="(\w+)', picture[0]) == [
        (f"{ROOT}products/l_ground", "Ground"),
        (f"{ROOT}products/l_cellar", "Cellar"),
        (f"{ROOT}products/l_floor", "Floor"),
        (f"{ROOT}products/l_roof", "Roof"),
    ]
    table = html[html.index("<tbody") : html.index("</tbody")]
    assert table.count("<tr>") == len(wanted)
    svg = text_of(staff.get(f"{ROOT}lineage/l_roof.svg?theme=dark"))
    assert svg.startswith("<svg")
    assert svg.count("<rect") == 5  # the ground, and four boxes
    assert text_of(staff.get(f"{ROOT}lineage/l_roof.csv")).splitlines()[0] == "needed,by"
    assert f'href="{ROOT}lineage/l_roof"' in text_of(staff.get(f"{ROOT}products/l_roof"))


def test_what_may_not_be_seen_is_counted_and_stands_nowhere(house: None, staff: Client) -> None:
    response = staff.get(f"{ROOT}lineage/l_roof")
    html = text_of(response)
    assert "1 is hidden." in html
    assert "Cellar" not in html
    assert "l_cellar" not in html
    assert edges(staff.get(f"{ROOT}lineage/l_roof.json")) == {
        ("l_ground", "l_floor"), ("l_floor", "l_roof"), ("l_ground", "l_roof"),
    }  # fmt: skip
    assert staff.get(f"{ROOT}lineage/l_cellar").status_code == 403
    assert staff.get(f"{ROOT}lineage/l_nothing").status_code == 404
    assert staff.get(f"{ROOT}lineage/l_roof?range=7d").status_code == 400  # it has no range
    assert Client().get(f"{ROOT}lineage/l_roof").status_code in (302, 401)


def test_it_is_another_page_when_one_of_them_may_not_be_served(house: None, staff: Client) -> None:
    before = staff.get(f"{ROOT}lineage/l_roof")["ETag"]
    assert staff.get(f"{ROOT}lineage/l_roof")["ETag"] == before
    Cache.get_instance().invalidate("l_ground")
    after = staff.get(f"{ROOT}lineage/l_roof")
    assert after["ETag"] != before
    assert re.search(r'aria-label="Ground[^"]*\((stale|never computed|empty)\)"', text_of(after))


def test_of_what_a_thousand_products_are_made_the_nearest_are_shown_and_the_others_counted(
    house: None, staff: Client
) -> None:
    session = caller("default")
    for number in range(1000):
        key = registry.key(f"l_guest/{number}")
        saved.save(session, key, [saved.Read(registry.key("l_alone"), 1, 0, "stale")])
    html = text_of(staff.get(f"{ROOT}lineage/l_alone"))
    assert "It needs 0 products; 1,000 need it." in html
    assert "941 products that are further away are left out." in html
    assert html.count("<rect") == 60
    assert json.loads(text_of(staff.get(f"{ROOT}lineage/l_alone.json")))["meta"]["left_out"] == 941


def test_what_stands_alone_says_so(house: None, staff: Client) -> None:
    html = text_of(staff.get(f"{ROOT}lineage/l_alone"))
    assert "Nothing is known of what it is made of" in html
    assert "<svg" not in html[html.index("<main") :]
    assert f"{ROOT}lineage/" not in text_of(staff.get(f"{ROOT}products/l_alone"))
