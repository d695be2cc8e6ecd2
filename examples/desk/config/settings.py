"""Settings of the desk example. Everything that differs between machines comes from the environment.

DATABASE_URL     postgres://user:password@host:port/name (postgres://postgres@127.0.0.1:5432/postgres)
DATABASE_SCHEMA  the schema that holds the tables (the database's default)
SECRET_KEY       signs forms (made up anew at each start)
DEBUG            1 shows Django's error pages, and lets runserver serve styles and scripts (1 for runserver, else 0)
"""

import os
import secrets
import sys

from config.database import from_url

SECRET_KEY = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(48)
DEBUG = os.environ.get("DEBUG", "1" if sys.argv[1:2] == ["runserver"] else "0") == "1"
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", "testserver"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "kck_flow",
    "desk",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",  # the pages in the visitor's language, where there is one
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "config.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {
    "default": from_url(
        os.environ.get("DATABASE_URL", "postgres://postgres@127.0.0.1:5432/postgres"),
        # A test database is made anew, and has no schema but its own.
        schema="" if sys.argv[1:2] == ["test"] else os.environ.get("DATABASE_SCHEMA", ""),
        test_name=os.environ.get("TEST_DATABASE", ""),
    )
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en"
USE_TZ = True
TIME_ZONE = "Europe/Paris"  # where days begin

STATIC_URL = "static/"

LOGIN_URL = "admin:login"

# All of it is made up: anybody sees the numbers. Who is behind them, and what changes something, is for the staff.
KCK_FLOW: dict[str, object] = {"PERMISSION": "public"}
