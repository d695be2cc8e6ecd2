"""The page of a time frame: what is there, what fails, what was never planned, and one press that has it computed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client, override_settings

from kck_flow.models import Frame
from kck_flow.registry import registry
from kck_flow.testing import registered, reset, run_worker
from tests.pages.conftest import ROOT, SITE
from tests.streams.forecast import primers
from tests.streams.forecast.primers import measure

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = f"{ROOT}frames/fc_hourly?from=2026-01-31T08:00Z&to=2026-01-31T18:00Z&by=hour"


@pytest.fixture
def measured() -> Any:
    """Five hours: the second fails, the third is in nobody's plan, the last has not ended."""
    reset()
    primers.failing.clear()
    with override_settings(**SITE), registered(primers.Hourly):
        measure(0, 70, 130, 190, 250)
        primers.failing.add("fc_hourly/2026-01-31T11")
        run_worker(["fc_hourly"])
        Frame.objects.filter(key="fc_hourly/2026-01-31T12").delete()
        yield
    primers.failing.clear()
    reset()


def rows(html: str) -> dict[str, str]:
    """Return the rows of the page's table, by the last of their keys."""
    found = re.findall(r"<tr><th scope=\"row\">.*?</tr>", html, re.S)
    return {re.findall(r"<code[^>]*>fc_hourly/2026-01-31T(\d+)</code>", row)[0]: row for row in found}


def test_what_is_missing_is_told_and_can_be_computed(measured: None) -> None:
    boss = Client()
    boss.force_login(User.objects.create_superuser("fr_boss"))
    html = boss.get(PAGE).content.decode()
    told = {hour: re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", row)) for hour, row in rows(html).items()}
    assert list(told) == ["13", "12", "11", "10"]
    assert " gap " in told["12"]
    assert "It was never planned" in told["12"]
    assert re.search("failed|parked", told["11"])
    assert "ValueError: no sum" in told["11"]
    assert " closed " in told["10"]
    assert {hour for hour, row in rows(html).items() if "<button" in row} == {"11", "12"}
    (found,) = re.findall(r'<form method="post" action="([^"]+T12/refresh)"', html)
    assert 'name="csrfmiddlewaretoken"' in rows(html)["12"]
    said = boss.post(found, headers={"Accept": "text/html"})
    assert said.status_code == 303
    assert boss.get(said["Location"]).status_code == 200
    run_worker(["fc_hourly"])
    html = boss.get(PAGE).content.decode()
    assert " closed " in re.sub(r"<[^>]+>", " ", rows(html)["12"])
    assert "<button" not in rows(html)["12"]


def test_what_nobody_wants_is_no_gap_and_not_awaited(measured: None, staff: Client) -> None:
    primer: Any = registry.primers["fc_hourly"]
    primer.until = datetime(2026, 1, 31, 12, tzinfo=UTC)
    told = staff.get(PAGE.replace("fc_hourly?", "fc_hourly.json?")).json()["rows"]
    assert {row["key"][-2:] for row in told if row["state"] == "gap"} == set()
    past = "?from=2026-02-01T08:00Z&to=2026-02-01T18:00Z&by=hour"
    page: Any = staff.get(f"{ROOT}frames/fc_hourly{past}")
    assert "in progress" not in page.context["coverage"]


def test_who_may_only_look_has_nothing_to_press(measured: None, staff: Client) -> None:
    html = staff.get(PAGE).content.decode()
    assert " gap " in re.sub(r"<[^>]+>", " ", rows(html)["12"])
    assert 'action="/x/y/products/fc_hourly' not in html


def test_the_gap_is_in_the_data_too(measured: None, staff: Client) -> None:
    told = staff.get(PAGE.replace("fc_hourly?", "fc_hourly.json?")).json()["rows"]
    open_, failed = [
        (row["key"][-2:], row["state"], row["items"]) for row in told if row["state"] != "closed"
    ]
    assert open_ == ("12", "gap", None)
    # Parked once it has been tried often enough, which a slow machine has time for.
    assert failed in [("11", "failed", None), ("11", "parked", None)]
    assert [row["reason"] for row in told if row["state"] == "gap"] == ["never planned"]
