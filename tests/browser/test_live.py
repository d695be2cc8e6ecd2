"""Pages that stay open: what moves, when they ask, and what they say of it; uvicorn and Chromium (feature 215)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from kck_flow import Cache
from kck_flow.testing import reset
from tests.accounts.models import Account
from tests.browser.conftest import elsewhere
from tests.browser.served import serving
from tests.harness.wait import until

pytestmark = [pytest.mark.needs_browser, pytest.mark.once("newest")]
HOUR = 3600
STREAM = {"LIVE": "stream", "LIVE_SECONDS": HOUR, "POLL_SECONDS": 0.1, "PERMISSION": "public"}
PLACE = "products/trial"
Opened = Callable[..., Any]


@pytest.fixture(scope="module")
def site(django_db_setup: None, django_db_blocker: Any) -> Iterator[str]:
    """Nothing is served here by itself: each test serves what it needs."""
    with django_db_blocker.unblock():
        Account.objects.create()
        Cache.get_instance().refresh("trial")
        yield ""
        call_command("flush", verbosity=0, interactive=False, allow_cascade=True)
        reset()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """An empty page that keeps to nobody's policy but its own; what violates that is an error in ``page.wrong``."""
    context = chromium.new_context(reduced_motion="reduce", viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.wrong = []
    page.on("console", lambda said: page.wrong.append(said.text) if "Security" in said.text else None)
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    yield page
    context.close()
    assert not page.wrong, page.wrong


def _asked(page: Any) -> list[int]:
    """Return the statuses of what the page's script has asked for, as they come."""
    found: list[int] = []

    def note(response: Any) -> None:
        if _by_script(response):
            found.append(response.status)

    page.on("response", note)
    return found


def _questions(page: Any) -> list[str]:
    """Return what the page's script asks for, as it begins to."""
    found: list[str] = []
    page.on(
        "request", lambda one: found.append(one.url) if one.headers.get("x-requested-with") == "kck" else None
    )
    return found


def _by_script(response: Any) -> bool:
    return response.request.headers.get("x-requested-with") == "kck"


def _seconds(page: Any) -> int:
    digits = [one for one in page.locator(".kck-pulse-text").inner_text() if one.isdigit()]
    return int("".join(digits) or 0)


def _now(number: int) -> str:
    return f'.kck-hero .kck-number:has-text("{number}")'


def _count() -> int:
    return int(elsewhere(Account.objects.count))


def test_a_number_moves_within_the_poll_and_nothing_is_sent_twice(page: Any) -> None:
    with serving({"LIVE_SECONDS": 0.2, "PERMISSION": "public"}) as site:
        asked = _asked(page)
        with page.expect_response(_by_script):
            page.goto(site.root + PLACE)
        assert page.locator("body[data-stream]").count() == 0
        page.locator('.kck-pulse-text:text-is("Live")').wait_for()
        assert set(asked) == {304}  # not even the first time: the page knows which version it is
        elsewhere(Account.objects.create)
        page.locator(_now(_count())).wait_for()
        with page.expect_response(lambda one: one.status == 304 and _by_script(one)):
            pass  # and then nothing again


def test_a_number_moves_at_once_where_there_is_a_stream(page: Any) -> None:
    with serving(STREAM) as site:
        asked = _asked(page)
        with page.expect_response(
            _by_script
        ):  # asked for once the stream is there: nothing was missed before
            page.goto(site.root + PLACE)
        assert asked == [304]
        elsewhere(Account.objects.create)  # nobody asks for another hour
        page.locator(_now(_count())).wait_for()
        assert page.evaluate("document.activeElement.tagName") == "BODY"


def test_where_there_is_no_stream_the_page_asks_by_itself(page: Any) -> None:
    with serving({**STREAM, "LIVE_CLIENTS": 0, "LIVE_SECONDS": 0.3}) as site:
        with page.expect_response(lambda one: one.status == 503):
            page.goto(site.root + PLACE)
        elsewhere(Account.objects.create)
        page.locator(_now(_count())).wait_for()
        page.locator('.kck-pulse-text:text-is("Live")').wait_for()


@pytest.mark.parametrize(
    "flow", [{"LIVE_SECONDS": 0.5, "PERMISSION": "public"}, STREAM], ids=["poll", "stream"]
)
def test_a_server_that_goes_is_said_to_be_lost_and_found_again(page: Any, flow: dict[str, Any]) -> None:
    flow = {**flow, "LIVE_SECONDS": 0.5}
    with serving(flow) as site:
        with page.expect_response(_by_script):
            page.goto(site.root + PLACE)
        page.locator('.kck-pulse-text:text-is("Live")').wait_for()
        site.stop()
        page.locator('.kck-pulse-lost .kck-pulse-text:has-text("Lost; next try in")').wait_for()
        said = page.locator(".kck-pulse-said")
        assert said.inner_text() == "The connection is lost; this page asks again by itself."
        elsewhere(Account.objects.create)
        site.start()
        page.locator(_now(_count())).wait_for()
        page.locator('.kck-pulse-alive .kck-pulse-text:text-is("Live")').wait_for()


def test_the_pauses_grow_while_it_is_lost(page: Any) -> None:
    with serving({"LIVE_SECONDS": 10, "PERMISSION": "public"}) as site:
        page.clock.install()
        page.goto(site.root + PLACE)
        site.stop()
        told = [10]
        for number in range(1, 5):
            page.clock.fast_forward(1000 * (told[-1] + 1))
            least = 10 * 2**number * 0.74
            until(lambda: _seconds(page) >= least, f"a pause after {told}")  # noqa: B023
            told.append(_seconds(page))
        for number, seconds in enumerate(told[1:], 1):
            assert 10 * 2**number * 0.74 <= seconds <= 10 * 2**number * 1.26, told


def test_ages_stay_true_without_a_question(page: Any) -> None:
    elsewhere(lambda: Cache.get_instance().refresh("book_count"))
    with serving({"LIVE_SECONDS": 10 * HOUR, "PERMISSION": "public"}) as site:
        page.clock.install()
        asked = _asked(page)
        page.goto(site.root + "products/book_count")
        page.locator('.kck-pulse-text:text-is("Live")').wait_for()
        age = page.locator(".kck-strip .kck-age").first
        young = ("just now", *(f"{number}\xa0s ago" for number in range(5, 60)))
        until(lambda: age.inner_text() in young, "the script")
        for seconds, told in ((240, "4\xa0min ago"), (2 * HOUR, "2.1\xa0h ago"), (6 * HOUR, "8.1\xa0h ago")):
            page.clock.fast_forward(seconds * 1000)
            until(lambda: age.inner_text() == told, told)  # noqa: B023
        assert asked == []


def test_who_stands_in_a_part_that_moves_stays_there(page: Any) -> None:
    with serving(STREAM) as site:
        with page.expect_response(_by_script):
            page.goto(site.root + "processes")
            page.goto(site.root + "products")
        link = page.get_by_role("link", name="Accounts that try it")
        link.focus()
        count = _count() + 1
        elsewhere(Account.objects.create)
        page.locator(f'tr:has(a:text-is("Accounts that try it")) td:has-text("{count}")').wait_for()
        assert page.evaluate("document.activeElement.textContent") == "Accounts that try it"


def test_a_hidden_tab_asks_nothing_and_one_that_is_looked_at_again_asks_at_once(page: Any) -> None:
    with serving({"PERMISSION": "public"}) as site:
        page.clock.install()
        page.add_init_script("Object.defineProperty(document, 'hidden', {get: () => !!window.away})")
        asked = _questions(page)
        page.goto(site.root + PLACE)
        with page.expect_response(lambda one: one.status == 304):
            page.clock.fast_forward(31_000)
        _look(page, away=True)
        page.clock.fast_forward(10 * HOUR * 1000)
        # Whatever was asked for before is known by the time that this is answered.
        page.evaluate("fetch(location.href).then(one => one.status)")
        assert len(asked) == 1
        with page.expect_response(lambda one: one.status in (200, 304)):
            _look(page, away=False)
        assert len(asked) == 2


def test_a_paused_page_asks_nothing_until_it_is_to_go_on(page: Any) -> None:
    with serving({"PERMISSION": "public"}) as site:
        page.clock.install()
        asked = _questions(page)
        page.goto(site.root + PLACE)
        button = page.get_by_role("button", name="Pause updates")
        assert button.bounding_box()["height"] >= 24
        button.focus()
        page.keyboard.press("Enter")
        page.locator('.kck-pulse-text:text-is("Paused")').wait_for()
        page.clock.fast_forward(HOUR * 1000)
        assert asked == []
        with page.expect_response(lambda one: one.status in (200, 304)):
            page.keyboard.press("Enter")  # the same button, the other way
        page.locator('.kck-pulse-text:text-is("Live")').wait_for()
        assert len(asked) == 1


def test_a_page_that_may_not_be_seen_any_more_says_so_and_asks_no_more(page: Any) -> None:
    user = elsewhere(lambda: User.objects.create_user("Grace", is_staff=True))
    client = Client()
    elsewhere(lambda: client.force_login(user))
    with serving({**STREAM, "PERMISSION": "staff"}) as site:
        cookie = {"name": "sessionid", "value": client.cookies["sessionid"].value, "url": site.root}
        page.context.add_cookies([cookie])
        page.goto(site.root + PLACE)
        page.get_by_text(
            "Refreshes on read; start a worker for live updates: manage.py kck worker"
        ).wait_for()
        number = page.locator(".kck-hero .kck-number").inner_text()
        elsewhere(lambda: User.objects.update(is_staff=False))
        elsewhere(Account.objects.create)
        page.locator(".kck-pulse-ended").wait_for()
        assert page.locator(".kck-hero .kck-number").inner_text() == number
        assert not page.locator(".kck-pulse button").is_visible()


def test_only_the_staff_hears_of_workers(page: Any) -> None:
    with serving({"PERMISSION": "public"}) as site:
        page.goto(site.root + PLACE)
        page.locator('.kck-pulse-text:text-is("Live")').wait_for()
        assert "kck worker" not in page.content()


def _look(page: Any, *, away: bool) -> None:
    page.evaluate(
        "away => { window.away = away; document.dispatchEvent(new Event('visibilitychange')); }", away
    )
