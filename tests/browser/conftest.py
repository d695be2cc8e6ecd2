"""A living site with a process, metrics and what goes wrong; and Chromium looking at it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections
from django.test import override_settings
from pytest_django.live_server_helper import LiveServer

from kck_flow import Cache, Dashboard, Metric, Panel, Primer, Process, Section, clock
from kck_flow.models import Annotation
from kck_flow.refresh import collecting
from kck_flow.registry import registry
from kck_flow.testing import registered, reset
from tests.accounts.models import Account
from tests.accounts.primers import Closed, Converting, Departing, Paying, SigningUp, Trial
from tests.harness import tools
from tests.pages.conftest import SITE, Broken, Share, Signups

SHOTS = Path(os.environ.get("KCK_SCREENSHOTS", ".screenshots"))


class Subscriptions(Process):
    """Accounts, from their trial to the day they leave."""

    key_base, label = "b_accounts", "Accounts"
    stocks, flows = [Trial, Paying, Closed], [SigningUp, Converting, Departing]


class Opened(Metric):
    """Accounts that are there."""

    key_base, label, unit, unit_plural = "b_opened", "All accounts", "account", "accounts"

    def compute(self, key: Any) -> int:
        return Account.objects.count()


class Letter(Primer):
    """What those who lent us money are told each month."""

    key_base, label = "b_letter", "Letter to those who lent us money"

    def compute(self, key: Any) -> str:
        cache = Cache.get_instance()
        return f"{cache.get('b_opened')} accounts, of whom {cache.get('p_share')} stay."


class Board(Dashboard):
    """Everything at once."""

    slug, label = "board", "Board"
    panels = [
        Section("Now", ["paying", Panel("trial", title="Trying"), Panel("b_opened", "value")]),
        Section(
            "Over time",
            [
                Subscriptions,
                Panel("b_accounts", "flows", by="hour", last=24),
                Panel("signing_up", "bars", by="hour", last=24, facet="plan"),
                Panel("paying", "table", facet="plan"),
                Panel("p_signups", "line", goal=30),
                Panel("p_signups", "bars", wide=True),
            ],
        ),
    ]


@pytest.fixture(scope="module")
def site(django_db_setup: None, django_db_blocker: Any) -> Iterator[str]:
    """The address of the living site's overview: one site for all that look at it."""
    before = dict(registry.primers)
    kept = ("metric", "trial", "paying", "closed", "signing_up", "converting", "departing")
    settings = {
        **SITE,
        "MIDDLEWARE": ["tests.browser.served.with_policy"],
        "KCK_FLOW": {"PERMISSION": "public"},
    }
    reset()
    with django_db_blocker.unblock(), override_settings(**settings), ExitStack() as stack:
        registry.primers = {name: one for name, one in before.items() if name in kept}
        registry._changed()
        server = LiveServer("localhost")
        try:
            stack.enter_context(registered(Subscriptions, Opened, Signups, Share, Broken, Letter))
            registry.register_dashboard(Board)
            stack.callback(registry.dashboards.pop, "board")
            _live()
            yield f"{server.url}/x/y/"
        finally:
            server.stop()
            stack.close()
            registry.primers = before
            registry._changed()
            reset()
            call_command("flush", verbosity=0, interactive=False, allow_cascade=True)


def _live() -> None:
    made = Account.objects.bulk_create(
        Account(plan=("free", "pro", None)[number % 3]) for number in range(40)
    )
    Account.objects.filter(pk__in=[one.pk for one in made[:25]]).update(state="active")
    Account.objects.filter(pk__in=[one.pk for one in made[:6]]).update(state="closed")
    cache = Cache.get_instance()
    for name in ("b_accounts", "b_opened"):
        cache.get(name)
    for name in ("p_signups", "p_share"):
        metric: Any = registry.primer(name)
        collecting.fill(registry.key(name), metric, clock.now() - timedelta(days=40), clock.now())
    list(collecting.collect(["p_signups", "p_share", "p_broken", "b_opened"]))
    cache.get("b_letter")
    Annotation.objects.create(start_at=clock.now() - timedelta(days=9), text="The price changed")


def elsewhere(work: Callable[[], Any]) -> Any:
    """Do something with the database in a thread of its own: in this one runs Playwright's loop, and Django's
    connections are others within a loop.
    """

    def and_close() -> Any:
        try:
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(and_close).result()


@pytest.fixture(scope="module")
def chromium(site: str) -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright; begun after the site, see ``elsewhere``."""
    path = tools.BROWSER.need()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open a page: ``opened(address, width=1280, dark=False, scripts=True)``. Whatever violates its policy fails the
    test at its end.
    """
    contexts: list[Any] = []
    violations: list[str] = []

    def one(address: str, *, width: int = 1280, dark: bool = False, scripts: bool = True) -> Any:
        context = chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            java_script_enabled=scripts,
            reduced_motion="reduce",
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: violations.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: violations.append(str(error)))
        page.goto(address)
        return page

    yield one
    for context in contexts:
        context.close()
    assert not violations, violations
