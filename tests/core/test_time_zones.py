"""The same tests where the project keeps another time: zones, USE_TZ off, both drivers (feature 41)."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.conf import settings as django_settings
from django.db import connection

from kck_flow import Cache
from kck_flow.testing import freeze_time, run_worker
from tests.core.conftest import Declared
from tests.harness.daemons import ROOT

# What speaks of instants: expiries to the second, records, series, keys of instants, captured columns, schedules.
TELLING = " or ".join(  # noqa: FLY002  (a line each)
    [
        "tells_version_instants",
        "hard_expiry_is_exact",
        "a_none_result_has_a_life",
        "the_last_good_value",
        "three_refreshes_leave_three_records",
        "the_value_at_an_instant",
        "a_series_by_steps",
        "equal_values_have_one_spelling",
        "carries_its_columns_with_their_types",
        "instants_are_aware",
        "missing_is_computed_where",
        "saved_row_is_shown_by_the_next_get",
    ]
)


@pytest.mark.once("oldest")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("zone", "use_tz", "driver"),  # UTC with USE_TZ is the suite itself
    [
        ("America/New_York", "0", "psycopg2"),
        ("Asia/Tokyo", "0", "psycopg"),
        ("UTC", "0", "psycopg"),
        ("America/New_York", "1", "psycopg"),
        ("Asia/Tokyo", "1", "psycopg2"),
    ],
)
def test_expiries_and_records_are_exact_whatever_the_projects_zone(
    zone: str, use_tz: str, driver: str
) -> None:
    if find_spec(driver) is None:
        pytest.skip(f"{driver} is not installed")
    url = urlsplit(os.environ["DATABASE_URL"])
    named = f"{url.path}_{driver}_{zone.replace('/', '_').lower()}_{use_tz}"
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/core", "-k", TELLING, "-x"],
        env={
            **os.environ,
            "DATABASE_URL": urlunsplit(url._replace(path=named)),
            "KCK_TEST_TZ": zone,
            "KCK_TEST_USE_TZ": use_tz,
            "KCK_TEST_DRIVER": driver,
            "TZ": zone,
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-6000:]
    assert " passed" in ran.stdout


@pytest.mark.django_db
def test_all_instants_are_aware_utc_whatever_use_tz_says(
    declare: Declared, cache: Cache, settings: Any
) -> None:
    """Run here with the project's own settings, and by the test above with others."""
    declare("page", lambda key: 1, keep_history=True)
    at = datetime(2026, 7, 1, 12, 30, tzinfo=UTC)
    with freeze_time(at):
        cache.get("page")
        entry = cache.get_entry("page")
        cache.request_refresh("page")
        explained = cache.explain("page")
        points = cache.series("page", at, at.replace(hour=13))
    found = {
        "computed_at": entry.computed_at,
        "explained": explained["computed_at"],
        "due": explained["slot"]["due_at"],
        "requested": explained["slot"]["requested_at"],
        "started": explained["slot"]["started_at"],
        "ran": explained["last_run"]["started_at"],
        "point": points[0].start,
    }
    for name, instant in found.items():
        assert isinstance(instant, datetime), name
        assert instant.tzinfo is not None, f"{name} is naive"
        assert instant == at, name
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM computed_at), extract(epoch FROM soft_expires_at) FROM kck_product"
        )
        assert float(cursor.fetchone()[0]) == at.timestamp()
    with freeze_time(at):
        assert run_worker().keys == ["page"]
    assert os.environ.get("KCK_TEST_TZ", "UTC") == django_settings.TIME_ZONE
