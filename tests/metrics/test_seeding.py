"""Metrics to begin with (features 169, 170)."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from kck_flow import Cache
from kck_flow.models import ConfiguredMetric, DataProduct, Record
from kck_flow.testing import freeze_time, reset

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    reset()
    with freeze_time(NOON):
        yield
    reset()


def seed(*arguments: str) -> Any:
    out = io.StringIO()
    call_command("kck", "seed", *arguments, "--format", "json", stdout=out, stderr=io.StringIO())
    return json.loads(out.getvalue())


def numbers() -> dict[str, list[Any]]:
    cache, start = Cache.get_instance(), NOON - timedelta(days=9)
    slugs = ConfiguredMetric.objects.filter(type="fake").values_list("slug", flat=True)
    return {slug: [point.value for point in cache.series(f"metric/{slug}", start, NOON)] for slug in slugs}


def test_ready_made_metrics_are_added_once_and_never_overwritten() -> None:
    assert {(row["slug"], row["outcome"]) for row in seed()} == {
        ("users", "added"), ("staff", "added"), ("new_users", "added"),
    }  # fmt: skip
    ConfiguredMetric.objects.filter(slug="staff").update(
        label="Our people", properties={"model": "auth.Group"}
    )
    before = list(ConfiguredMetric.objects.values())
    assert {row["outcome"] for row in seed()} == {"there"}
    assert list(ConfiguredMetric.objects.values()) == before


def test_what_was_seeded_is_collected() -> None:
    from django.contrib.auth.models import User

    seed()
    User.objects.create_user("old", date_joined=NOON - timedelta(days=3))
    User.objects.create_user("new", date_joined=NOON, is_staff=True)
    out = io.StringIO()
    call_command(
        "kck", "collect", "users", "staff", "new_users", "--format", "json", stdout=out, stderr=io.StringIO()
    )
    assert [row["value"] for row in json.loads(out.getvalue())] == [2, 1, 1]


@override_settings(DEBUG=True)
def test_made_up_numbers_are_the_same_for_the_same_seed_and_can_be_made_twice() -> None:
    assert {row["outcome"] for row in seed("--fake", "--days", "9")} == {"added", "filled"}
    once = numbers()
    assert all(None not in found and len(set(found)) > 3 for found in once.values())
    count = Record.objects.count()
    assert {row["outcome"] for row in seed("--fake", "--days", "9")} == {"there", "filled"}
    assert (numbers(), Record.objects.count()) == (once, count)
    seed("--fake", "--remove")
    seed("--fake", "--days", "9", "--seed", "1")
    assert numbers() == once
    seed("--fake", "--remove")
    seed("--fake", "--days", "9", "--seed", "2")
    assert numbers() != once


@override_settings(DEBUG=True)
def test_made_up_numbers_leave_nothing_behind() -> None:
    seed()
    seed("--fake", "--days", "5")
    removed = seed("--fake", "--remove")
    assert {row["outcome"] for row in removed} == {"removed"}
    assert {row["periods"] for row in removed} == {6}
    assert not Record.objects.exists()
    assert not DataProduct.objects.exclude(state="unset").exists()
    assert set(ConfiguredMetric.objects.values_list("slug", flat=True)) == {"users", "staff", "new_users"}


def test_made_up_numbers_are_refused_in_production() -> None:
    with pytest.raises(CommandError, match="refused where DEBUG is off") as refused:
        seed("--fake")
    assert refused.value.returncode == 1
    assert not ConfiguredMetric.objects.exists()


def test_what_goes_with_fake_alone_is_refused() -> None:
    with pytest.raises(CommandError, match="--days goes with --fake") as refused:
        seed("--days", "5")
    assert refused.value.returncode == 2
