"""Where a product could not be computed stands on its chart's axis, and in its sentence (experience §9 C)."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from kck_flow.refresh import collecting
from kck_flow.registry import registry
from tests.pages.conftest import DAY, NOW, ROOT
from tests.pages.test_overview import text_of

pytestmark = pytest.mark.django_db


def crosses(html: str) -> list[str]:
    """Return what is said of each failure on the chart of a desk."""
    chart = re.search(r'<svg[^>]*id="c[0-9a-f]{10}".*?</svg>', html, re.S) or re.search(
        r"<svg.*?</svg>", html[html.index("kck-chart") :], re.S
    )
    assert chart is not None
    return re.findall(r'<g class="kck-failure"><title>(.*?)</title>', chart[0])


def test_each_step_in_which_it_failed_has_its_cross(history: Any, staff: Client) -> None:
    primer: Any = registry.primer("p_signups")
    answers = type(primer).compute

    def fail(self: Any, key: Any, span: Any) -> int:
        raise RuntimeError("the survey does not answer")

    plain = text_of(staff.get(f"{ROOT}metrics/p_signups"))
    assert crosses(plain) == []
    assert "are remembered" not in plain
    type(primer).compute = fail
    try:
        for days in (3, 2, 2):
            history.set(NOW - DAY * days)
            list(collecting.collect(["p_signups"]))
    finally:
        type(primer).compute = answers
    history.set(NOW)
    seen = staff.get(f"{ROOT}metrics/p_signups")
    html = text_of(seen)
    assert crosses(html) == [
        "Sat 7 Mar: It could not be computed once.",
        "Sun 8 Mar: It could not be computed 2 times.",
    ]
    assert "Of the refreshes that are remembered, 3 failed." in html
    svg = text_of(staff.get(f"{ROOT}metrics/p_signups.svg"))
    assert len(re.findall('class="kck-failure"', svg)) == 2
    # A range that it did not fail in says nothing of it.
    assert crosses(text_of(staff.get(f"{ROOT}metrics/p_signups?from=2026-02-01&to=2026-02-20"))) == []
    # One that fails once more is another page.
    history.set(NOW - DAY)
    type(primer).compute = fail
    try:
        list(collecting.collect(["p_signups"]))
    finally:
        type(primer).compute = answers
    history.set(NOW)
    assert staff.get(f"{ROOT}metrics/p_signups")["ETag"] != seen["ETag"]


def test_what_never_succeeded_has_its_crosses_too(history: Any, staff: Client) -> None:
    found = crosses(text_of(staff.get(f"{ROOT}metrics/p_broken")))
    assert found
    assert all("could not be computed" in one for one in found)
