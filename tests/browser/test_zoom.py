"""Zooming into a chart of a detail page: by pointer, keys and buttons; what it says is what the table says."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.staticfiles import finders

from tests.accounts.models import Account
from tests.browser.conftest import SHOTS, elsewhere

Opened = Callable[..., Any]
VENDORED = Path(__file__).parent.parent.parent / "kck_flow/static/kck_flow/vendor/uplot"
METRIC, PROCESS = "metrics/p_signups?range=30d", "processes/b_accounts?range=24h&by=hour"


def drag(page: Any, begin: float, end: float, where: str = ".kck-chart:visible svg") -> None:
    """Drag across a chart, from one share of its width to another."""
    chart = page.locator(f".kck-figure {where}").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    x, y = (lambda share: box["x"] + box["width"] * share), box["y"] + box["height"] / 2
    page.mouse.move(x(begin), y)
    page.mouse.down()
    page.mouse.move(x((begin + end) / 2), y + 5)
    page.mouse.move(x(end), y, steps=4)
    page.mouse.up()


def shown(page: Any) -> tuple[str, str]:
    """The range that the link leads to: its first day and its last."""
    link = page.locator("[data-zoom=show]")
    link.wait_for()
    asked = parse_qs(urlsplit(link.get_attribute("href")).query)
    return asked["from"][0], asked["to"][0]


def table_of(page: Any) -> list[list[str]]:
    return page.evaluate(  # type: ignore[no-any-return]
        """() => [...document.querySelectorAll(".kck-figure tbody tr")].map(
            row => [...row.cells].map(cell => cell.textContent))"""
    )


def test_what_is_vendored_is_what_was_published() -> None:
    told = dict(re.findall(r"\| `([^`]+)` \| `([0-9a-f]{64})` \|", (VENDORED / "README.md").read_text()))
    assert set(told) == {path.name for path in VENDORED.iterdir()} - {"README.md"}
    for name, digest in told.items():
        assert sha256((VENDORED / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.needs_browser
@pytest.mark.once("newest")
def test_a_drag_zooms_in_and_the_range_has_an_address(site: str, opened: Opened) -> None:
    page = opened(site + METRIC)
    days = [row[0] for row in table_of(page)]
    assert page.locator(".kck-zoom").is_visible()
    assert page.locator("[data-zoom=show]").is_hidden()
    drag(page, 0.3, 0.6)
    page.locator(".kck-zoomed canvas").wait_for()
    assert page.locator(".kck-figure .kck-chart:visible").count() == 0
    first, last = shown(page)
    assert first < last
    # Within what is zoomed into, once more.
    drag(page, 0.4, 0.7, ".kck-zoomed .u-over")
    page.wait_for_function(f"!document.querySelector('[data-zoom=show]').href.includes('from={first}')")
    inner = shown(page)
    assert first < inner[0] <= inner[1] < last
    page.screenshot(path=str(SHOTS / "zoomed.png"))
    page.locator("[data-zoom=show]").click()
    narrower = [row[0] for row in table_of(page)]
    assert 0 < len(narrower) < len(days)
    assert set(narrower) < set(days)
    assert int(inner[0][-2:]) == int(re.search(r"\d+", narrower[0])[0])  # type: ignore[index]


@pytest.mark.needs_browser
@pytest.mark.once("newest")
def test_keys_and_buttons_do_all_that_a_drag_does(site: str, opened: Opened) -> None:
    page = opened(site + METRIC)
    page.locator(".kck-chart:visible svg").first.focus()
    page.keyboard.press("+")
    host = page.locator(".kck-zoomed")
    host.wait_for()
    assert host.evaluate("one => document.activeElement === one")
    half = shown(page)
    page.keyboard.press("+")
    quarter = shown(page)
    assert half[0] < quarter[0] < quarter[1] < half[1]
    page.locator("[data-zoom=left]").click()
    earlier = shown(page)
    assert earlier[0] < quarter[0]
    page.locator("[data-zoom=right]").click()
    assert shown(page) == quarter
    page.locator("[data-zoom=out]").click()
    assert shown(page)[0] < quarter[0]
    page.locator("[data-zoom=in]").click()
    host.focus()
    page.keyboard.press("Escape")
    assert host.count() == 0
    assert page.locator(".kck-chart:visible svg").first.evaluate("one => document.activeElement === one")
    page.locator("[data-zoom=in]").click()
    page.locator("[data-zoom=reset]").click()
    assert page.locator(".kck-figure .kck-chart:visible svg").count() == 1
    for button in page.locator(".kck-zoom button").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 24


@pytest.mark.needs_browser
@pytest.mark.once("newest")
@pytest.mark.parametrize("place", [METRIC, PROCESS])
def test_the_cursor_says_what_the_table_says(site: str, opened: Opened, place: str) -> None:
    page = opened(site + place)
    rows = table_of(page)
    page.locator("[data-zoom=in]").click()
    page.locator(".kck-zoomed").focus()
    page.keyboard.press("Home")
    for row in rows[:4]:
        page.wait_for_function(
            "text => document.querySelector('.kck-tip').textContent.split('\\n')[0] === text", arg=row[0]
        )
        told = page.locator(".kck-zoomed .kck-tip").text_content().split("\n")
        assert [one.split(": ")[-1] for one in told] == row
        page.keyboard.press("ArrowRight")
    page.keyboard.press("End")
    page.wait_for_function(
        "text => document.querySelector('.kck-tip').textContent.split('\\n')[0] === text", arg=rows[-1][0]
    )
    assert "in progress" in page.locator(".kck-zoomed .kck-tip").text_content()
    assert rows[-1][0] in page.locator(".kck-live").text_content()


@pytest.mark.needs_browser
@pytest.mark.once("newest")
def test_numbers_that_change_meanwhile_change_within_the_zoom(site: str, opened: Opened) -> None:
    page = opened(site + PROCESS)
    page.locator("[data-zoom=in]").click()
    page.locator(".kck-zoomed").focus()
    page.keyboard.press("End")
    before, range_ = table_of(page)[-1], shown(page)
    elsewhere(lambda: Account.objects.bulk_create([Account(state="trial") for _ in range(7)]))
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_function(
        """text => text !== [...document.querySelectorAll(".kck-figure tbody tr:last-child td")].map(
            one => one.textContent).join()""",
        arg=",".join(before[1:]),
    )
    after = table_of(page)[-1]
    assert page.locator(".kck-zoomed canvas").count() == 1
    assert shown(page) == range_
    page.locator(".kck-zoomed").focus()
    page.keyboard.press("End")
    page.wait_for_function(
        "text => document.querySelector('.kck-tip').textContent.includes(text)", arg=after[1]
    )


@pytest.mark.needs_browser
@pytest.mark.once("newest")
def test_without_scripts_there_is_the_picture_and_no_button(site: str, opened: Opened) -> None:
    page = opened(site + METRIC, scripts=False)
    assert page.locator(".kck-figure .kck-chart:visible svg").count() == 1
    assert page.locator(".kck-zoom").is_hidden()


@pytest.mark.needs_browser
@pytest.mark.once("newest")
def test_dark_and_on_a_phone(site: str, opened: Opened) -> None:
    for name, place, options in (
        ("zoomed-dark", PROCESS, {"dark": True}),
        ("zoomed-phone", METRIC, {"width": 390}),
    ):
        page = opened(site + place, **options)
        page.locator("[data-zoom=in]").click()
        page.locator(".kck-zoomed canvas").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.screenshot(path=str(SHOTS / f"{name}.png"), full_page=True)


@pytest.mark.needs_browser
@pytest.mark.once("newest")
def test_what_zooming_takes_is_light_and_comes_when_somebody_zooms(site: str, opened: Opened) -> None:
    page = opened(site + PROCESS)
    page.wait_for_load_state("networkidle")
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url) if one.resource_type == "script" else None)
    html = page.content().encode()
    files = re.findall(r'(?:href|src)="/static/([^"]+\.(?:css|js))"', html.decode())
    bodies = [html, *(Path(str(finders.find(one))).read_bytes() for one in files)]
    assert sum(len(gzip.compress(one)) for one in bodies) <= 22_000
    assert not any("uPlot.iife" in one for one in files)
    assert not asked
    page.locator("[data-zoom=in]").click()
    page.locator(".kck-zoomed canvas").wait_for()
    (script,) = asked
    assert "uPlot.iife.min" in script
    bodies.append((VENDORED / "uPlot.iife.min.js").read_bytes())
    assert sum(len(gzip.compress(one)) for one in bodies) <= 43_500
    assert "zoom" not in opened(site).content()
