"""A page says what is stored now, though it was made of what it remembers; and makes anew only what has changed."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client
from django.utils import translation

from kck_flow import Cache, Metric
from kck_flow.dashboards import overview, ranges, tiles
from kck_flow.key import Key
from kck_flow.models import ConfiguredMetric
from kck_flow.refresh import collecting
from kck_flow.registry import registry
from tests.pages.conftest import DAY, NOW, ROOT
from tests.pages.test_overview import name_of, text_of, tile

pytestmark = pytest.mark.django_db


def page(client: Client, asked: str = "") -> str:
    return text_of(client.get(f"{ROOT}{asked}"))


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the sign-ups of a day are said to be, when they are measured again."""
    primer: Any = registry.primer("p_signups")
    told: dict[str, Any] = {}
    monkeypatch.setattr(type(primer), "compute", lambda self, key, window: told["number"], raising=False)
    return told


def test_made_once_for_as_long_as_nothing_changes(
    history: Any, staff: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = page(staff)
    made: list[Key] = []
    monkeypatch.setattr(
        tiles, "_tile", lambda shown, *rest, was=tiles._tile: (made.append(shown.key), was(shown, *rest))[1]
    )
    assert page(staff) == first
    assert [str(key) for key in made] == ["p_broken"]  # what is not fresh says how old it is


def test_a_new_number_is_shown_at_once_and_what_was_rolled_back_is_not(
    history: Any, staff: Client, answers: dict[str, Any]
) -> None:
    before = name_of(page(staff), "Sign-ups")
    answers["number"] = 1000

    def collect_and_fail() -> str:
        with transaction.atomic():
            list(collecting.collect(["p_signups"]))
            seen = name_of(page(staff), "Sign-ups")
            raise ZeroDivisionError(seen)

    with pytest.raises(ZeroDivisionError) as failed:
        collect_and_fail()
    inside = str(failed.value)
    assert inside != before
    assert name_of(page(staff), "Sign-ups") == before
    list(collecting.collect(["p_signups"]))
    assert name_of(page(staff), "Sign-ups") == inside
    answers["number"] = 1001
    list(collecting.collect(["p_signups"]))
    assert name_of(page(staff), "Sign-ups") not in (before, inside)


def test_records_that_are_taken_away_are_gone(history: Any, staff: Client) -> None:
    before = page(staff)
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM kck_record WHERE key = 'p_signups' AND start_at < %s AND start_at > %s",
            [NOW - DAY * 5, NOW - DAY * 8],
        )
        assert cursor.rowcount
    after = page(staff)
    assert name_of(after, "Sign-ups") != name_of(before, "Sign-ups")
    assert tile(after, "Share") == tile(before, "Share")


def test_a_day_that_ends_is_in_progress_no_longer(history: Any, staff: Client) -> None:
    before = tile(page(staff), "Sign-ups")
    history.set(NOW + timedelta(hours=12))
    after = tile(page(staff), "Sign-ups")
    assert after != before
    history.set(NOW)
    assert tile(page(staff), "Sign-ups") == before


def test_a_row_that_is_edited_reads_otherwise_at_once(history: Any, staff: Client) -> None:
    Metric.create(
        "count_rows", "authors", model="shop.Author", label="Writers", unit="writer", unit_plural="writers"
    )
    list(collecting.collect(["authors"]))
    assert "0 writers" in name_of(page(staff), "Writers").replace("\u00a0", " ")
    ConfiguredMetric.objects.filter(slug="authors").update(unit_plural="authors", goal=Decimal("12.5"))
    seen = tile(page(staff), "Writers").replace("\u00a0", " ")
    assert "0 authors" in seen
    assert "12.5 authors" in seen
    ConfiguredMetric.objects.filter(slug="authors").update(label="Authors", goal=None)
    assert "12.5" not in tile(page(staff), "Authors")
    ConfiguredMetric.objects.filter(slug="authors").delete()
    assert "Authors" not in page(staff)


def test_a_property_that_is_edited_is_asked_for_at_once(history: Any) -> None:
    metric = Metric.create("count_rows", "authors", model="shop.Author")
    first: Any = registry.primer("metric")
    assert first.of(registry.key("metric/authors")) is first.of(registry.key("metric/authors"))
    metric.properties = {"model": "shop.Author", "filter": {"name": "Ada"}}
    metric.save()
    edited = first.of(registry.key("metric/authors"))
    assert edited.properties["filter"] == {"name": "Ada"}
    assert Cache.get_instance().refresh("metric/authors").value == 0


def test_another_language_reads_otherwise(history: Any, staff: Client) -> None:
    english = page(staff)
    assert "in 30 days" in name_of(english, "Sign-ups")
    with translation.override("de"):
        german = overview.overview(User.objects.get(username="staff"), ranges.read({}, NOW))
        told = {one.label: one.as_html() for group in german.context["groups"] for one in group.tiles}
    assert "30 Tagen" in told["Sign-ups"].replace("\u00a0", " ")
    assert page(staff) == english


def test_each_range_and_comparison_is_its_own(history: Any, staff: Client) -> None:
    asked = ("", "?range=7d", "?compare=none", "?range=7d&complete=1", "?by=week", "?tz=Asia/Tokyo")
    once = [tile(page(staff, one), "Sign-ups") for one in asked]
    assert len(set(once)) == len(asked)
    assert [tile(page(staff, one), "Sign-ups") for one in asked] == once


def test_a_number_that_reads_otherwise_is_another(
    history: Any, staff: Client, answers: dict[str, Any]
) -> None:
    answers["number"] = 5
    list(collecting.collect(["p_signups"]))
    whole = tile(page(staff, "?range=1d&compare=none"), "Sign-ups")
    answers["number"] = Decimal("5.50")
    list(collecting.collect(["p_signups"]))
    broken = tile(page(staff, "?range=1d&compare=none"), "Sign-ups")
    assert '<span class="kck-number">5</span>' in whole
    assert '<span class="kck-number">5.5' in broken
