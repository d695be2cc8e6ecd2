"""What the cache knows of itself is metrics, on a dashboard (feature 228)."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, override_settings

from kck_flow import Cache, Primer, clock
from kck_flow.errors import KckFlowError
from kck_flow.refresh import collecting
from kck_flow.registry import registry
from kck_flow.testing import registered, reset
from primers.monitoring import primers as monitoring
from tests.pages.conftest import SITE

pytestmark = pytest.mark.django_db(transaction=True)

METRICS = [
    monitoring.Reads,
    monitoring.HitRate,
    monitoring.Misses,
    monitoring.Refreshes,
    monitoring.RefreshFailures,
    monitoring.Computing,
    monitoring.Saved,
]


class Quick(Primer):
    key_base = "m_quick"

    def compute(self, key: Any) -> int:
        return 1


class Broken(Primer):
    key_base = "m_broken"

    def compute(self, key: Any) -> int:
        raise RuntimeError("no")


@pytest.fixture
def known() -> Any:
    reset()
    with registered(Quick, Broken, *METRICS):
        registry.register_dashboard(monitoring.Itself)
        try:
            yield
        finally:
            registry.dashboards.pop("kck", None)
    reset()


def read_a_while() -> None:
    from kck_flow.cache import tallies

    cache = Cache.get_instance()
    for _ in range(8):
        cache.get("m_quick")
    for _ in range(2):
        with pytest.raises(KckFlowError):
            cache.get("m_broken")
    tallies.tell()


def test_the_numbers_are_those_of_the_reads_and_refreshes(known: None) -> None:
    read_a_while()
    assert all(one.outcome == "collected" for one in collecting.collect([one.key_base for one in METRICS]))
    cache = Cache.get_instance()
    told = {one.key_base: cache.get(one.key_base) for one in METRICS}
    assert told["kck_reads"] == 10
    assert told["kck_misses"] == 1
    assert told["kck_hit_rate"] == Decimal("0.7")
    assert told["kck_refreshes"] >= 1
    assert told["kck_failures"] >= 1
    assert told["kck_computing"] > 0
    assert 0 < told["kck_saved"] < 7 * told["kck_computing"]


def test_of_a_day_without_reads_there_is_no_rate(known: None) -> None:
    yesterday = clock.now() - timedelta(days=1)
    primer: Any = registry.primer("kck_hit_rate")
    assert primer.number(primer.span(yesterday)) is None
    assert registry.primer("kck_reads").number(primer.span(yesterday)) == 0  # type: ignore[attr-defined]


def test_they_stand_on_a_dashboard_for_the_staff(known: None) -> None:
    read_a_while()
    list(collecting.collect([one.key_base for one in METRICS]))
    with override_settings(**SITE):
        client = Client()
        assert client.get("/x/y/dashboards/kck").status_code in (302, 401)
        client.force_login(User.objects.create_user("staff", is_staff=True))
        html = client.get("/x/y/dashboards/kck").content.decode()
    for label in ("Reads", "Answered at once", "Had to wait", "Time saved", "Failed refreshes"):
        assert label in html
    assert '<span class="kck-number">10</span>' in html
    assert "70" in html


def test_the_app_declares_them_all() -> None:
    code = (
        "import django; from django.conf import settings; "
        "settings.configure(INSTALLED_APPS=['django.contrib.contenttypes', 'django.contrib.auth', 'kck_flow', "
        "'primers.monitoring']); django.setup(); from kck_flow.registry import registry; "
        "print(*sorted(name for name in registry.primers if name.startswith('kck_')), *registry.dashboards)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert found == [*sorted(one.key_base for one in METRICS), "kck"]


def test_hours_that_are_old_are_pruned(known: None) -> None:
    from django.core.management import call_command

    read_a_while()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE kck_usage SET hour = hour - interval '400 days' WHERE key_base = 'm_quick'")
    call_command("kck", "prune", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT key_base FROM kck_usage WHERE key_base LIKE 'm_%%'")
        assert cursor.fetchall() == [("m_broken",)]
