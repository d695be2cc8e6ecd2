"""What goes on, and what products are worth, as Prometheus reads it (experience §8, check 15)."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import path
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from kck_flow import Cache, IntegerParameter, Primer
from kck_flow.contrib.prometheus import Collector, metrics
from kck_flow.errors import ComputeFailed
from kck_flow.testing import freeze_time, registered, reset
from tests.pages.conftest import SITE

pytestmark = pytest.mark.django_db
urlpatterns = [path("metrics", metrics)]
BROKEN: list[bool] = []


class Worth(Primer):
    """A number for each shop."""

    key_base, parameters, domain = "pm_worth", [IntegerParameter("shop")], [1, 2, 3]
    soft_expire = timedelta(minutes=10)

    def compute(self, key: Any) -> int:
        if BROKEN:
            raise RuntimeError("the shop is closed")
        return 100 * int(key.params["shop"])


class Never(Primer):
    key_base = "pm_never"

    def compute(self, key: Any) -> int:
        raise RuntimeError("it never works")


@pytest.fixture
def shops() -> Any:
    reset()
    BROKEN.clear()
    site = {**SITE, "ROOT_URLCONF": "tests.api.test_prometheus"}
    flow = {"PROMETHEUS_VALUES": ["pm_worth", "pm_never", "pm_worth/x"]}
    with override_settings(**site, KCK_FLOW=flow), registered(Worth, Never):
        yield Cache.get_instance()
    BROKEN.clear()
    reset()


def scraped(text: str) -> dict[tuple[str, ...], float]:
    """Return each sample by its name and the values of its labels but the database."""
    return {
        (one.name, *(value for name, value in one.labels.items() if name != "database")): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


@pytest.fixture
def scrape(client: Client) -> Any:
    client.force_login(User.objects.create_user("scraper", is_staff=True))

    def ask() -> dict[tuple[str, ...], float]:
        response = client.get("/metrics")
        assert response.status_code == 200
        assert response["Content-Type"].startswith("text/plain")
        return scraped(response.content.decode())

    return ask


def test_values_and_states_are_told_and_what_is_missing_is_no_zero(shops: Cache, scrape: Any) -> None:
    shops.get("pm_worth/1")
    shops.get("pm_worth/2")
    told = scrape()
    assert told["kck_up",] == 1
    assert told["kck_value", "pm_worth/1"] == 100
    assert told["kck_value", "pm_worth/2"] == 200
    assert ("kck_value", "pm_worth/3") not in told
    assert told["kck_value_state", "pm_worth/3", "empty"] == 1
    assert told["kck_value_state", "pm_worth/1", "fresh"] == 1
    assert 0 <= told["kck_value_age_seconds", "pm_worth/1"] < 60
    assert told["kck_products", "pm_worth", "fresh"] == 2
    assert 0 <= told["kck_oldest_product_age_seconds", "pm_worth", "fresh"] < 60


def test_a_failing_primer_shows_within_one_refresh_and_keeps_its_value(shops: Cache, scrape: Any) -> None:
    with freeze_time(datetime(2026, 3, 10, tzinfo=UTC)) as clock:
        shops.get("pm_worth/1")
        assert scrape()["kck_failing_products", "pm_worth"] == 0
        BROKEN.append(True)
        clock.set(datetime(2026, 3, 10, 1, tzinfo=UTC))
        for key in ("pm_worth/1", "pm_never"):
            with pytest.raises(ComputeFailed):
                shops.refresh(key)
        told = scrape()
    assert told["kck_failing_products", "pm_worth"] == 1
    assert told["kck_value_state", "pm_worth/1", "failed"] == 1
    assert told["kck_value", "pm_worth/1"] == 100, "the last good value"
    assert told["kck_value_age_seconds", "pm_worth/1"] == 3600
    assert told["kck_products", "pm_worth", "failed"] == 1
    # One that never had a value is told as failing, and has none.
    assert told["kck_failing_products", "pm_never"] == 1
    assert ("kck_value", "pm_never") not in told


def test_nothing_is_computed_or_written_by_a_scrape_and_many_products_take_no_more(
    shops: Cache, scrape: Any
) -> None:
    with CaptureQueriesContext(connection) as few:
        scrape()
    for shop in range(1, 40):
        shops.set(f"pm_worth/{shop}", shop)
    with CaptureQueriesContext(connection) as many:
        told = scrape()
    assert told["kck_products", "pm_worth", "fresh"] == 39
    assert len(many) <= len(few)
    assert not [
        one for one in many if one["sql"].startswith(("INSERT", "UPDATE", "DELETE")) and "kck_" in one["sql"]
    ]


def test_who_may_scrape(shops: Cache, client: Client) -> None:
    assert client.get("/metrics").status_code in (302, 401)
    client.force_login(User.objects.create_user("nobody_special"))
    assert client.get("/metrics").status_code == 403
    with override_settings(KCK_FLOW={"PERMISSION": "public"}):
        assert Client().get("/metrics").status_code == 200
    assert client.post("/metrics").status_code in (403, 405)


def test_a_registry_of_the_projects_own_asks_nothing_until_it_is_scraped(shops: Cache) -> None:
    own = CollectorRegistry()
    with CaptureQueriesContext(connection) as asked:
        own.register(Collector(values=["pm_worth/1"]))
    assert len(asked) == 0
    shops.get("pm_worth/1")
    assert own.get_sample_value("kck_value", {"key": "pm_worth/1"}) == 100
    assert own.get_sample_value("kck_value", {"key": "pm_worth/2"}) is None


def test_the_package_does_not_need_it() -> None:
    code = """import os, sys
sys.modules["prometheus_client"] = None
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
import django
django.setup()
import kck_flow.urls
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
