"""A small site with pages: a process that balances, metrics that were collected for forty days, and who looks at them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client, override_settings

from kck_flow import Cache, Flow, Metric, Primer, Process, Stock
from kck_flow.refresh import collecting
from kck_flow.testing import freeze_time, registered, reset
from tests.shop.models import Customer, Order

NOW = datetime(2026, 3, 10, 15, 30, tzinfo=UTC)
DAY = timedelta(days=1)

SITE = {
    "ROOT_URLCONF": "tests.pages.urls",
    "STATIC_URL": "/static/",
    "LOGIN_URL": "/login/",
    "INSTALLED_APPS": [
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django.contrib.sessions",
        "django.contrib.staticfiles",
        "kck_flow",
        "tests.shop.apps.ShopConfig",
        "tests.accounts.apps.AccountsConfig",
        "tests.streams.meters.apps.MetersConfig",
        "tests.streams.weather",
    ],
    "MIDDLEWARE": [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    "TEMPLATES": [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                ]
            },
        }
    ],
}


class Signups(Metric):
    """Sign-ups."""

    key_base = "p_signups"
    unit, unit_plural, good, section, goal = "sign-up", "sign-ups", "up", "Growth", 900
    tz = "UTC"

    def compute(self, key: Any, span: Any) -> int:
        return 20 + span.start.day % 7 + span.start.day // 3


class Share(Metric):
    """Share of visitors who stay."""

    key_base = "p_share"
    number_format, good, section = "percent", "up", "Growth"
    tz, rollup = "UTC", "last"

    def compute(self, key: Any, span: Any) -> Decimal:
        return Decimal(30 + span.start.day % 5) / 100


class Broken(Metric):
    """Satisfaction."""

    key_base, section, tz = "p_broken", "Growth", "UTC"

    def compute(self, key: Any) -> int:
        raise RuntimeError("the survey does not answer")


class Report(Primer):
    """A list that takes a while."""

    key_base, section = "p_report", "Reports"

    def compute(self, key: Any) -> list[int]:
        return [1, 2, 3]


class Open(Stock):
    """Open orders."""

    key_base, model, unit, unit_plural = "p_open", Order, "order", "orders"
    members = {"state": "open"}


@pytest.fixture
def site() -> Iterator[dict[str, Any]]:
    """The site's settings."""
    with override_settings(**SITE):
        yield SITE


@pytest.fixture
def declared() -> Iterator[list[Any]]:
    """Some products, and metrics that were collected for forty days."""
    reset()
    with ExitStack() as stack:
        found = stack.enter_context(registered(Signups, Share, Broken, Report))
        yield found
    reset()


@pytest.fixture
def history(declared: list[Any], db: None) -> Iterator[Any]:
    """Forty days of metrics, and the clock at the afternoon of the last."""
    with freeze_time(NOW - DAY * 70) as clock:
        list(collecting.collect(["p_signups", "p_share", "p_broken"]))
        clock.set(NOW)
        list(collecting.collect(["p_signups", "p_share", "p_broken"]))
        yield clock


def login(client: Client, **attributes: Any) -> Any:
    """Log somebody in."""
    from django.contrib.auth.models import User

    user = User.objects.create_user("someone", password="x", **attributes)
    client.force_login(user)
    return user


__all__ = ["Cache", "Customer", "Flow", "Process"]
