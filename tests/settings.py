"""Settings of the test project. What they read from the environment:

DATABASE_URL       postgresql://user:password@host:port/name; pytest starts its own server where it is not set
KCK_TEST_DRIVER    psycopg2 or psycopg; by default the one that Django prefers
KCK_TEST_TZ        TIME_ZONE (UTC)
KCK_TEST_USE_TZ    1 or 0 (1)
KCK_TEST_POOLED    1 where DATABASE_URL is a PgBouncer in transaction mode (0)
"""

import os
import sys
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

match os.environ.get("KCK_TEST_DRIVER", ""):
    case "psycopg2":
        sys.modules["psycopg"] = None  # type: ignore[assignment]  # Django takes psycopg 3 wherever it can import it
        import psycopg2  # noqa: F401
    case "psycopg":
        import psycopg  # noqa: F401  # its absence must not turn into a quiet run with psycopg2
    case "":
        pass
    case other:
        raise ValueError(f"KCK_TEST_DRIVER must be psycopg2 or psycopg, not {other!r}")


def database(url: str) -> dict[str, Any]:
    """Return Django's settings for a database given as a URL; its query becomes the driver's options."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise ValueError(f"DATABASE_URL must begin with postgresql://, not {parts.scheme}://")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "OPTIONS": dict(parse_qsl(parts.query)),
        # A server-side cursor outlives its transaction, and behind a pooler the connection it lives on.
        "DISABLE_SERVER_SIDE_CURSORS": os.environ.get("KCK_TEST_POOLED") == "1",
    }


# Without the variable nothing can connect, but mypy's plugin and makemigrations can read these settings.
DATABASES = {"default": database(os.environ.get("DATABASE_URL") or "postgresql://127.0.0.1:1/unset")}
# The same database under another name: a transaction there is none here.
DATABASES["elsewhere"] = {**DATABASES["default"], "TEST": {"MIRROR": "default"}}

STATIC_URL = "/static/"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "kck_flow",
    "tests.shop.apps.ShopConfig",
    "tests.accounts.apps.AccountsConfig",
    "tests.streams.meters.apps.MetersConfig",
    "tests.streams.weather",
]
MIGRATION_MODULES = {
    "shop": None,
    "accounts": None,
    "weather": None,
}  # its tables follow its models, so that tests may add to them freely
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

USE_TZ = os.environ.get("KCK_TEST_USE_TZ", "1") == "1"
TIME_ZONE = os.environ.get("KCK_TEST_TZ", "UTC")

SECRET_KEY = "only for tests"
# Fast; no password here protects anything.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
MIDDLEWARE: list[str] = []
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
