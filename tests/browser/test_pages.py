"""Every page: light, dark, on a phone (experience §10, 7 to 13)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.accounts.models import Account
from tests.browser.conftest import SHOTS, elsewhere

pytestmark = [pytest.mark.needs_browser, pytest.mark.once("newest")]

PAGES = (
    "", "processes", "processes/b_accounts", "metrics", "metrics/p_signups", "metrics/p_share", "metrics/p_broken",
    "products", "products/b_opened", "frames", "dashboards", "dashboards/board", "lineage/b_letter",
    "products/nothing",
)  # fmt: skip
MODES = {"light": {}, "dark": {"dark": True}, "phone": {"width": 390}, "zoomed": {"width": 640}}
Opened = Callable[..., Any]


def _axe(page: Any) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(
        page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    )
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes'][:3]]}"
        for one in found.response["violations"]
    ]


@pytest.mark.parametrize("mode", MODES)
def test_nothing_keeps_anybody_out_and_nothing_sticks_out(site: str, chromium: Any, mode: str) -> None:
    context = chromium.new_context(
        viewport={"width": MODES[mode].get("width", 1280), "height": 900},
        color_scheme="dark" if MODES[mode].get("dark") else "light",
        reduced_motion="reduce",
        bypass_csp=True,  # axe is put into the page by hand; that the pages keep to their policy is tested beside
    )
    page = context.new_page()
    wrong: list[str] = []
    SHOTS.mkdir(exist_ok=True)
    for place in PAGES:
        page.goto(site + place)
        wrong += [f"/{place}: {one}" for one in _axe(page)]
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if wide > 0:
            wrong.append(f"/{place}: {wide} pixels wider than the window")
        page.screenshot(
            path=str(SHOTS / f"{place.replace('/', '-') or 'overview'}-{mode}.png"), full_page=True
        )
    context.close()
    assert not wrong, "\n".join(wrong)


def test_no_page_violates_its_policy_not_even_under_the_pointer(site: str, opened: Opened) -> None:
    for place in PAGES[:-1]:
        page = opened(site + place)
        for chart in page.query_selector_all("main svg")[:6]:
            if chart.is_visible():
                chart.hover()
        page.context.close()


def test_two_points_are_chosen_and_compared(opened: Opened, site: str) -> None:
    page = opened(f"{site}metrics/p_signups", scripts=False)
    page.get_by_role("link", name="Compare two of them").click()
    first, second = page.get_by_label("Compare").first, page.get_by_label("with")
    first.select_option(index=2)
    second.select_option(index=5)
    page.get_by_role("button", name="Compare").click()
    assert "one=" in page.url
    assert "other=" in page.url
    said = page.locator("[data-live=compared]").inner_text()
    assert re.search(r"\d", said), said


def test_panels_move_where_they_stand(site: str, opened: Opened) -> None:
    page = opened(f"{site}dashboards/board")
    table = page.get_by_role("group", name="Accounts that pay, deleted ones too by plan").locator("table")
    diagram = page.locator(".kck-panel .kck-picture:visible")
    before, drawn = table.inner_text(), diagram.inner_html()
    elsewhere(lambda: Account.objects.create(state="active", plan="gold"))
    _look_again(page)
    table.get_by_text("gold").wait_for()
    assert "gold" not in before
    assert diagram.inner_html() != drawn
    page.context.close()


def test_numbers_move_where_they_stand_and_nothing_is_sent_twice(site: str, opened: Opened) -> None:
    page = opened(site)
    tile = page.get_by_role("link", name="Accounts that try it")
    assert "15" in tile.inner_text()
    answers: list[int] = []
    page.on("response", lambda one: answers.append(one.status) if one.url == site else None)
    elsewhere(Account.objects.create)
    _look_again(page)
    page.locator('.kck-number:text-is("16")').wait_for()
    assert answers == [200]
    _look_again(page)
    page.wait_for_timeout(300)
    assert answers[1:] in ([304], [200])  # an age may have gone on meanwhile
    assert page.evaluate("document.activeElement.tagName") == "BODY"


def _look_again(page: Any) -> None:
    """What the page does every half a minute, and when it is looked at again."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_keys_alone_are_enough(site: str, opened: Opened) -> None:
    page = opened(f"{site}metrics/p_signups")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "kck-skip"
    seen: list[str] = []
    for _ in range(80):
        page.keyboard.press("Tab")
        where = page.evaluate(
            """() => {
                const at = document.activeElement, box = at.getBoundingClientRect(), style = getComputedStyle(at);
                return {tag: at.tagName.toLowerCase(), outline: style.outlineStyle, height: box.height,
                        seen: box.bottom > 0 && box.top < innerHeight, inline: style.display === 'inline'};
            }"""
        )
        if where["tag"] == "body":
            break
        seen.append(where["tag"])
        assert where["outline"] != "none", where
        assert where["seen"], where
        assert where["height"] >= 24 or where["inline"], where
    assert seen.count("svg") == 1  # one stop for a chart of thirty points
    page.locator("main svg.kck-chart").first.focus()
    page.keyboard.press("End")
    tip = page.locator(".kck-tip").first
    assert tip.is_visible()
    last = tip.inner_text()
    page.keyboard.press("ArrowLeft")
    assert tip.inner_text() != last
    assert page.locator(".kck-live").inner_text() == tip.inner_text().replace("\n", ", ")


def test_the_search_is_one_key_away_and_help_another(site: str, opened: Opened) -> None:
    page = opened(site)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "kck-q"
    page.keyboard.type("trial")
    page.keyboard.press("Enter")
    page.wait_for_url("**/products?q=trial")
    assert page.get_by_role("link", name="Accounts that try it").is_visible()
    page.keyboard.press("?")
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog").is_visible()


def test_scripts_are_not_needed(site: str, opened: Opened) -> None:
    page = opened(site, scripts=False)
    page.locator("select[name=range]").select_option("7d")
    page.get_by_role("button", name="Apply").click()
    assert "range=7d" in page.url
    assert "in 7 days" in page.locator("main").inner_text()
    page.get_by_role("button", name="Dark").click()
    assert "range=7d" in page.url
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.get_by_role("link", name="Sign-ups").first.click()
    assert "metrics/p_signups" in page.url
    assert "range=7d" in page.url
    page.get_by_text("The same as a table").click()
    assert page.locator("details table tbody tr").count() == 7
    assert page.locator("main svg").first.is_visible()
    assert not page.get_by_role("button", name="Copy").first.is_visible()  # it would do nothing


def test_a_theme_stays_chosen(site: str, opened: Opened) -> None:
    page = opened(site)
    page.get_by_role("button", name="Dark").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.goto(f"{site}metrics")
    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_a_box_of_the_diagram_leads_to_its_stock(site: str, opened: Opened) -> None:
    page = opened(f"{site}processes/b_accounts")
    link = page.locator(".kck-on-desk svg a[href*='products/trial']")
    link.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/products/trial**")
