"""Products as programs ask for them: a report, one that keeps its history, metrics, a stock; and who asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db.models import Q
from django.http import HttpRequest
from django.test import Client, override_settings

from kck_flow import Cache, IntegerParameter, On, Primer, Stock
from kck_flow.testing import registered, reset
from tests.pages.conftest import NOW, SITE, Signups, declared, history, site
from tests.shop.models import Order

__all__ = ["NOW", "declared", "history", "site"]
ROOT = "/x/y"
TOKENS = {"Bearer of-writer": "writer", "Bearer of-reader": "reader"}
ROWS = [
    {"name": 'Ada, "the first"\nof many', "spent": Decimal("-12.50"), "since": date(2026, 1, 31)},
    {"name": "=HYPERLINK(A1)", "spent": -3, "since": None},
]


class Plain(Primer):
    """A list that is stored as it is shown."""

    key_base, permission = "a_plain", "public"
    soft_expire, hard_expire = timedelta(minutes=5), timedelta(minutes=20)

    def compute(self, key: Any) -> Any:
        return [1, 2, {"b": "é", "a": None}]


class Typed(Primer):
    """A list of dicts with types that JSON has not."""

    key_base, permission = "a_typed", "authenticated"

    def compute(self, key: Any) -> Any:
        return [dict(row) for row in ROWS]


class Columned(Typed):
    """The same, with fewer columns."""

    key_base, columns = "a_columned", ["since", "name"]


class Otherwise(Primer):
    """Shown otherwise than it is stored."""

    key_base = "a_otherwise"
    parameters = [IntegerParameter("number", default=3)]

    def compute(self, key: Any) -> Any:
        return list(range(min(key.params["number"], 1000)))  # any number is asked for

    def to_json(self, key: Any, value: Any) -> Any:
        return {"sum": sum(value)}

    def to_csv(self, key: Any, value: Any) -> Any:
        return [("sum", "note"), (sum(value), "=1+1")]


class Kept(Primer):
    """What it was is kept."""

    key_base, keep_history = "a_kept", True

    def compute(self, key: Any) -> Any:
        return 0


class Secret(Primer):
    """Not even its name may be known."""

    key_base, permission = "a_secret", "nobody"

    def compute(self, key: Any) -> Any:
        return 1


class Failing(Primer):
    """Never to be had."""

    key_base, retries = "a_failing", 0

    def compute(self, key: Any) -> Any:
        raise RuntimeError("the password is 12345")


class Tenant(Primer):
    """Whose it is, sees it."""

    key_base = "a_tenant"
    parameters = [IntegerParameter("customer")]

    @staticmethod
    def permission(user: Any, action: str, key: Any) -> bool:
        return bool(
            user is not None
            and user.is_authenticated
            and user.first_name == str(getattr(key, "params", {}).get("customer"))
        )

    def compute(self, key: Any) -> Any:
        return key.params["customer"] * 10


class Hung(Primer):
    """What depends on another, and expires besides."""

    key_base, permission, soft_expire = "a_hung", "public", timedelta(minutes=5)
    depends_on = [On("a_plain")]

    def compute(self, key: Any) -> Any:
        return 1


class Kiosk(Primer):
    """To look at, not to take away."""

    key_base = "a_kiosk"

    @staticmethod
    def permission(user: Any, action: str, key: Any) -> bool:
        return action == "view"

    def compute(self, key: Any) -> Any:
        return [1]


class Open(Stock):
    """Open orders."""

    key_base, model, members = "a_open", Order, Q(state="open")


def user_of_token(request: HttpRequest) -> User | None:
    """As a project would: who a token is of."""
    name = TOKENS.get(request.headers["Authorization"])
    return User.objects.filter(username=name).first() if name else None


@pytest.fixture
def api() -> Iterator[Cache]:
    """The site, its products, and tokens."""
    reset()
    with ExitStack() as stack:
        stack.enter_context(
            override_settings(**SITE, KCK_FLOW={"API_AUTH": "tests.api.conftest.user_of_token"})
        )
        stack.enter_context(
            registered(
                Plain, Typed, Columned, Otherwise, Kept, Secret, Failing, Tenant, Kiosk, Hung, Signups, Open
            )
        )
        yield Cache.get_instance()
    reset()


@pytest.fixture
def api_of_history(history: Any) -> Iterator[Cache]:
    """The site, with metrics that were collected for forty days."""
    with override_settings(**SITE):
        yield Cache.get_instance()


def somebody(name: str, *granted: str, **attributes: Any) -> User:
    """Add a user with some of our permissions: refresh, write …"""
    user = User.objects.create_user(name, **attributes)
    for action in granted:
        user.user_permissions.add(
            Permission.objects.get(codename=f"{action}_dataproduct", content_type__app_label="kck_flow")
        )
    return user


@pytest.fixture
def staff(client: Client, db: None) -> User:
    """Somebody of the staff, logged in, who may do everything that a permission is needed for."""
    user = somebody("boss", "refresh", "invalidate", "write", "share", is_staff=True)
    client.force_login(user)
    return user


def body_of(response: Any) -> str:
    """Return a response's text, streamed or not."""
    if response.streaming:
        return b"".join(response.streaming_content).decode()
    return response.content.decode()
