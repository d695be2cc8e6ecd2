"""A small site with pages: metrics that were collected for seventy days, one that fails, and who looks at them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client, override_settings

from kck_flow import Metric, Primer
from kck_flow.refresh import collecting
from kck_flow.registry import registry
from kck_flow.testing import freeze_time, registered, reset

NOW = datetime(2026, 3, 10, 15, 30, tzinfo=UTC)
DAY = timedelta(days=1)
ROOT = "/x/y/"

SITE = {
    "ROOT_URLCONF": "tests.pages.urls",
    "STATIC_URL": "/static/",
    "LOGIN_URL": "/login/",
    "MIDDLEWARE": [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    "TEMPLATES": [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
        }
    ],
}


class Signups(Metric):
    """People who sign up.

    Counted by the day of their first visit.
    """

    key_base, label = "p_signups", "Sign-ups"
    unit, unit_plural, good, section, goal = "sign-up", "sign-ups", "up", "Growth", 30
    tz = "UTC"

    def compute(self, key: Any, span: Any) -> int:
        return 20 + span.start.day % 7


class Share(Metric):
    """Share of visitors who stay."""

    key_base = "p_share"
    number_format, good, section = "percent", "up", "Growth"
    tz, rollup = "UTC", "last"

    def compute(self, key: Any, span: Any) -> Decimal:
        return Decimal(30 + span.start.day % 5) / 100


class Nobody(Metric):
    """People who complain."""

    key_base, section, tz, good = "p_nobody", "Growth", "UTC", "down"

    def compute(self, key: Any, span: Any) -> int:
        return 0


class Broken(Metric):
    """Satisfaction."""

    key_base, section, tz = "p_broken", "Growth", "UTC"

    def compute(self, key: Any) -> int:
        raise RuntimeError("the survey does not answer")


class Report(Primer):
    """A list that takes a while."""

    key_base, section, permission = "p_report", "Reports", "accounts.view_account"

    def compute(self, key: Any) -> list[int]:
        return [1, 2, 3]


NAMES = ("p_signups", "p_share", "p_nobody", "p_broken", "p_report")


@pytest.fixture
def site() -> Iterator[None]:
    """The site's settings, and no products but its own: the overview shows all that stand alone."""
    before = dict(registry.primers)
    with override_settings(**SITE):
        registry.primers = {name: one for name, one in before.items() if name == "metric"}
        registry._changed()
        try:
            yield
        finally:
            registry.primers = {**before, **{k: v for k, v in registry.primers.items() if k in before}}
            registry._changed()


@pytest.fixture
def declared(site: None) -> Iterator[list[Any]]:
    """The products above."""
    reset()
    with ExitStack() as stack:
        yield stack.enter_context(registered(Signups, Share, Nobody, Broken, Report))
    reset()


@pytest.fixture
def history(declared: list[Any], db: None) -> Iterator[Any]:
    """Seventy days of metrics, and the clock in the afternoon of the last."""
    names = NAMES[:-1]
    with freeze_time(NOW - DAY * 70) as clock:
        list(collecting.collect(names))
        clock.set(NOW)
        list(collecting.collect(names))
        yield clock


@pytest.fixture
def staff(db: None, client: Client) -> Client:
    """Somebody of the staff, who has no permission besides."""
    client.force_login(User.objects.create_user("staff", is_staff=True))
    return client
