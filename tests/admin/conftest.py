"""A site with an admin: the default one, and one of its own beside it; what both show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client, override_settings

from kck_flow.changes import triggers
from kck_flow.testing import registered, reset
from tests.admin import declared as own

NOW = datetime(2026, 3, 10, 15, 30, tzinfo=UTC)
PROCESSORS = (
    "django.template.context_processors.request",
    "django.contrib.auth.context_processors.auth",
    "django.contrib.messages.context_processors.messages",
)
SETTINGS: dict[str, Any] = {
    "ROOT_URLCONF": "tests.admin.urls",
    "STATIC_URL": "/static/",
    "LOGIN_URL": "/admin/login/",
    "INSTALLED_APPS": ["django.contrib.admin", "django.contrib.messages", *settings.INSTALLED_APPS],
    "MIDDLEWARE": [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    "TEMPLATES": [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {"context_processors": list(PROCESSORS)},
        }
    ],
}


@pytest.fixture
def site(db: None) -> Iterator[None]:
    """The settings of the site, and the table of the admin's log, which the other tests do without."""
    with override_settings(**SETTINGS):
        from django.contrib.admin.models import LogEntry

        if LogEntry._meta.db_table not in connection.introspection.table_names():
            with connection.schema_editor() as editor:
                editor.create_model(LogEntry)
        yield


@pytest.fixture
def declared() -> Iterator[None]:
    """Some products of every state, and stocks of accounts."""
    reset()
    with ExitStack() as stack:
        stack.enter_context(registered(*own.PRIMERS))
        yield
    reset()


@pytest.fixture
def counted(db: None) -> Iterator[None]:
    """Stocks of accounts, the flow between them, and the process that they make, captured by triggers."""
    reset()
    with registered(*own.COUNTED):
        triggers.install("default")
        yield
    reset()


@pytest.fixture
def staff(site: None, client: Client) -> Client:
    """A client of somebody who may do anything."""
    login(client, is_staff=True, is_superuser=True)
    return client


def login(client: Client, **attributes: Any) -> Any:
    """Log somebody in."""
    from django.contrib.auth.models import User

    user = User.objects.create_user("somebody", **attributes)
    client.force_login(user)
    return user


def clerk(client: Client, *permissions: str) -> Any:
    """Log somebody in who may do what is named, ``"kck_flow.view_dataproduct"`` …, and no more."""
    from django.contrib.auth.models import Permission
    from django.contrib.contenttypes.models import ContentType

    user = login(client, is_staff=True)
    for one in permissions:
        app, _, codename = one.partition(".")
        kind, _ = ContentType.objects.get_or_create(app_label=app, model=codename.partition("_")[2])
        user.user_permissions.add(
            Permission.objects.get_or_create(content_type=kind, codename=codename, defaults={"name": one})[0]
        )
    return user
