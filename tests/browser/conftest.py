"""A living site with a process, metrics and what goes wrong; and Chromium looking at it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from kck_flow import Cache, Metric, Process, clock
from kck_flow.models import Annotation
from kck_flow.refresh import collecting
from kck_flow.registry import registry
from kck_flow.testing import registered, reset
from tests.accounts.models import Account
from tests.accounts.primers import Closed, Converting, Departing, Paying, SigningUp, Trial
from tests.harness import tools
from tests.pages.conftest import SITE, Broken, Share, Signups

SHOTS = Path(os.environ.get("KCK_SCREENSHOTS", ".screenshots"))
# What a page may load: its own files, and nothing inline. Scripts that write HTML need a policy of their own.
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; require-trusted-types-for 'script'; trusted-types kck"


def with_policy(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Put the policy on every answer."""

    def answer(request: Any) -> Any:
        response = get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response

    return answer


class Subscriptions(Process):
    """Accounts, from their trial to the day they leave."""

    key_base, label = "b_accounts", "Accounts"
    stocks, flows = [Trial, Paying, Closed], [SigningUp, Converting, Departing]


class Opened(Metric):
    """Accounts that are there."""

    key_base, label, unit, unit_plural = "b_opened", "All accounts", "account", "accounts"

    def compute(self, key: Any) -> int:
        return Account.objects.count()


@pytest.fixture
def site(transactional_db: None, live_server: Any) -> Iterator[str]:
    """The address of the living site's overview."""
    before = dict(registry.primers)
    kept = ("metric", "trial", "paying", "closed", "signing_up", "converting", "departing")
    settings = {
        **SITE,
        "MIDDLEWARE": ["tests.browser.conftest.with_policy"],
        "KCK_FLOW": {"PERMISSION": "public"},
    }
    reset()
    with override_settings(**settings), ExitStack() as stack:
        registry.primers = {name: one for name, one in before.items() if name in kept}
        registry._changed()
        try:
            stack.enter_context(registered(Subscriptions, Opened, Signups, Share, Broken))
            _live()
            yield f"{live_server.url}/x/y/"
        finally:
            stack.close()
            registry.primers = before
            registry._changed()
            reset()


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
    Annotation.objects.create(start_at=clock.now() - timedelta(days=9), text="The price changed")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright."""
    path = tools.BROWSER.need()
    from playwright.sync_api import sync_playwright

    # Playwright runs a loop in this thread; what the tests ask of Django beside it is asked synchronously.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
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
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


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
