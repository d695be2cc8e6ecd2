"""The admin's pages under Unfold, in a real browser: they are there, work, and add nothing to what its own pages ask of
a policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.db import connection
from django.test import Client, override_settings

from kck_flow import Cache, Metric
from kck_flow.changes import triggers
from kck_flow.errors import ComputeFailed
from kck_flow.testing import registered, reset
from tests.accounts.models import Account, Branch
from tests.admin import declared as own
from tests.admin.conftest import SETTINGS, login
from tests.browser.conftest import SHOTS
from tests.browser.served import serving
from tests.browser.test_admin import MODES, PAGES
from tests.harness import tools

pytestmark = [
    pytest.mark.needs_browser,
    pytest.mark.once("newest"),
    pytest.mark.django_db(transaction=True),
]
THEIRS = ("accounts/branch/", "accounts/branch/add/", "accounts/branch/{branch}/change/")


@pytest.fixture
def office() -> Iterator[tuple[Any, str, int, str]]:
    """Unfold's admin with products of every state: the site, the path of a product's page, the number of a branch,
    a session's key.
    """
    reset()
    with override_settings(**SETTINGS), registered(*own.PRIMERS, *own.COUNTED):
        from django.contrib.admin.models import LogEntry

        with connection.schema_editor() as editor:
            editor.create_model(LogEntry)
        triggers.install("default")
        try:
            branch = Branch.objects.create(name="here")
            Account.objects.bulk_create(Account(state="trial") for _ in range(5))
            Metric.create("count_rows", "authors", model="shop.Author", label="Authors")
            cache = Cache.get_instance()
            for number in range(3):
                cache.get(f"a_menu/{number}")
            with suppress(ComputeFailed):
                cache.get("a_kitchen")
            Account.objects.filter(state="trial").update(state="active")
            client = Client()
            login(client, is_staff=True, is_superuser=True)
            listed = client.get("/admin/kck_flow/dataproduct/?q=a_menu").context["cl"].result_list
            product = f"dataproduct/{listed[0].pk}/change/"
            with serving({}, "tests.browser.unfolded") as site:
                yield site, product, branch.pk, client.cookies["sessionid"].value
        finally:
            reset()
            with connection.schema_editor() as editor:
                editor.delete_model(LogEntry)


def kind(said: str) -> str:
    """Return what is violated, without whose text or address it is: the same of two pages is one thing."""
    return re.sub(r"('sha256-[^']*'|'nonce-[^']*'|https?://\S+)", "…", said.partition("\n")[0])


def test_our_pages_are_right_under_unfold_and_ask_no_more_of_a_policy_than_its_own(
    office: tuple[Any, str, int, str],
) -> None:
    from playwright.sync_api import sync_playwright

    site, product, branch, session = office
    url, wrong = f"http://localhost:{site.port}", []
    ours = [f"kck_flow/{place.format(product=product)}" for place in PAGES]
    SHOTS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=tools.BROWSER.need(), args=arguments)

        def opened(**options: Any) -> Any:
            context = browser.new_context(reduced_motion="reduce", **options)
            context.add_cookies([{"name": "sessionid", "value": session, "url": url}])
            return context.new_page()

        def show(page: Any, place: str) -> None:
            answer = page.goto(f"{url}/admin/{place}")
            assert answer.status == 200, f"{place}: {answer.status}\n{site.daemon.output[-3000:]}"

        def said(places: Any) -> set[str]:
            """What a strict policy has against some pages."""
            found: set[str] = set()
            page = opened()
            page.on("console", lambda one: found.add(kind(one.text)) if "Policy" in one.text else None)
            for place in places:
                show(page, place)
            page.context.close()
            return found

        wrong += sorted(said(ours) - said(one.format(branch=branch) for one in THEIRS))
        for mode, options in MODES.items():  # as they are meant to be seen: with Unfold's own scripts
            page = opened(bypass_csp=True, **options)
            page.on("pageerror", lambda error: wrong.append(str(error)))
            for place in ours:
                show(page, place)
                name = place.replace(product, "product").strip("/").replace("/", "-").replace("?", "-")
                page.screenshot(path=str(SHOTS / f"unfold-{name}-{mode}.png"), full_page=True)
            page.context.close()
        # What is done there works: a product is asked for anew, and it is said.
        page = opened(bypass_csp=True)
        show(page, "kck_flow/dataproduct/?q=a_menu")
        page.locator("input[name=_selected_action]").first.check()
        page.select_option("select[name=action]", "refresh_now")
        page.locator("button[name=index], button[type=submit]:has-text('Run')").first.click()
        page.wait_for_load_state()
        page.get_by_role("button", name="Yes").click()
        page.wait_for_load_state()
        page.screenshot(path=str(SHOTS / "unfold-refreshed.png"), full_page=True)
        assert "1 product was computed." in page.inner_text("body")
        # And a number leads to its rows, in Unfold's own list.
        page.goto(f"{url}/x/y/members/a_paying")
        page.screenshot(path=str(SHOTS / "unfold-members.png"), full_page=True)
        assert "/admin/accounts/account/" in page.url
        assert page.locator("input[name=_selected_action]").count() == 5
        browser.close()
    assert not wrong, "\n".join(wrong)
