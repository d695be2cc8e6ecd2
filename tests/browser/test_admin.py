"""The admin's pages in a real browser, light, dark and on a phone: axe, a strict policy, pictures to be looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.db import connection
from django.test import Client, override_settings
from pytest_django.live_server_helper import LiveServer

from kck_flow import Cache, Metric
from kck_flow.changes import triggers
from kck_flow.errors import ComputeFailed
from kck_flow.testing import registered, reset
from tests.accounts.models import Account
from tests.admin import declared as own
from tests.admin.conftest import SETTINGS, login
from tests.browser.conftest import SHOTS
from tests.harness import tools

pytestmark = [pytest.mark.needs_browser, pytest.mark.django_db(transaction=True)]
MODES = {"light": {}, "dark": {"color_scheme": "dark"}, "phone": {"viewport": {"width": 390, "height": 900}}}
PAGES = (
    "dataproduct/", "dataproduct/?state=failed", "{product}", "refresh/", "run/", "record/", "event/",
    "configuredmetric/", "configuredmetric/add/", "configureddashboard/add/", "annotation/add/",
)  # fmt: skip
# What is the admin's own: its search field has a title for a name, and a column of its inlines none. Of Django 5.2,
# besides: the two fields of an instant have one label, and "Show all" looks like the text around it.
THEIRS = ("#searchbar", ".original", ".vDateField", ".vTimeField", "#toolbar .quiet")


def with_policy(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Put a policy on every answer: nothing but this site's own files, and nothing inline."""

    def answer(request: Any) -> Any:
        response = get_response(request)
        response["Content-Security-Policy"] = "default-src 'self'; img-src 'self' data:"
        return response

    return answer


@pytest.fixture
def office() -> Iterator[tuple[str, str, str]]:
    """An admin with products of every state: its address, the path of a product's page, and a session's key."""
    middleware = ["tests.browser.test_admin.with_policy", *SETTINGS["MIDDLEWARE"]]
    reset()
    with override_settings(**{**SETTINGS, "MIDDLEWARE": middleware}), registered(*own.PRIMERS, *own.COUNTED):
        from django.contrib.admin.models import LogEntry

        with connection.schema_editor() as editor:
            editor.create_model(LogEntry)
        triggers.install("default")
        server = LiveServer("localhost")
        try:
            Account.objects.bulk_create(Account(state="trial") for _ in range(5))
            Metric.create("count_rows", "authors", model="shop.Author", label="Authors")
            cache = Cache.get_instance()
            for branch in range(3):
                cache.get(f"a_menu/{branch}")
            with suppress(ComputeFailed):
                cache.get("a_kitchen")
            Account.objects.filter(state="trial").update(state="active")
            client = Client()
            login(client, is_staff=True, is_superuser=True)
            listed = client.get("/admin/kck_flow/dataproduct/?q=a_menu").context["cl"].result_list
            product = f"dataproduct/{listed[0].pk}/change/"
            yield server.url, product, client.cookies["sessionid"].value
        finally:
            server.stop()
            reset()
            with connection.schema_editor() as editor:
                editor.delete_model(LogEntry)


# One of them under each Django: the admin's own pages differ.
@pytest.mark.parametrize(
    "mode",
    ["light", *(pytest.param(mode, marks=pytest.mark.once("newest")) for mode in MODES if mode != "light")],
)
def test_the_admins_pages_keep_nobody_out(office: tuple[str, str, str], mode: str) -> None:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    url, product, session = office
    wrong: list[str] = []
    SHOTS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=tools.BROWSER.need(), args=arguments)
        context = browser.new_context(reduced_motion="reduce", **MODES[mode])
        context.add_cookies([{"name": "sessionid", "value": session, "url": url}])
        page = context.new_page()
        page.on(
            "console",
            lambda said: wrong.append(f"{page.url}: {said.text}") if "Policy" in said.text else None,
        )
        page.on("pageerror", lambda error: wrong.append(f"{page.url}: {error}"))
        for place in PAGES:
            answer = page.goto(f"{url}/admin/kck_flow/{place.format(product=product)}")
            if answer.status != 200:
                wrong.append(f"{place}: {answer.status}")
            name = place.strip("/").replace("/", "-").replace("?", "-").format(product="product")
            page.screenshot(path=str(SHOTS / f"admin-{name}-{mode}.png"), full_page=True)
        context.close()
        # axe is put into the page by hand, which a policy would refuse.
        context = browser.new_context(reduced_motion="reduce", bypass_csp=True, **MODES[mode])
        context.add_cookies([{"name": "sessionid", "value": session, "url": url}])
        page = context.new_page()
        for place in PAGES:
            page.goto(f"{url}/admin/kck_flow/{place.format(product=product)}")
            rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
            found = Axe().run(
                page, context={"exclude": [[one] for one in THEIRS]}, options={"runOnly": rules}
            )
            wrong += [
                f"{place}: {one['id']}: {[node['html'][:160] for node in one['nodes'][:3]]}"
                for one in found.response["violations"]
            ]
        browser.close()
    assert not wrong, "\n".join(wrong)
