"""Settings of the flights example. Everything that differs between machines comes from the environment.

DATABASE_URL     postgres://user:password@host:port/name (postgres://postgres@127.0.0.1:5432/postgres)
DATABASE_SCHEMA  the schema that holds the tables; demo.py sets one of its own (the database's default)
SECRET_KEY       signs cookies and forms (made up anew at each start)
DEBUG            1 shows Django's error pages (0)
FRAMES           the part of the year that is made into time frames: days, a month, 2013-03, or all of it, 2013
                 (2013-03-04/2013-03-10, the week of the great snow)
"""

import os
import secrets
import sys
from pathlib import Path

from config.database import from_url

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(48)
DEBUG = os.environ.get("DEBUG") == "1"
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", "testserver"]

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.staticfiles",
    "kck_flow",
    "flights",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "config.security.ContentSecurityPolicy",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
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
TIME_ZONE = (
    "America/New_York"  # where these flights leave from: what the pages show; the tables hold instants
)

STATIC_URL = "static/"

FRAMES = os.environ.get("FRAMES") or "2013-03-04/2013-03-10"

# Nobody logs in here: everybody may see everything.
KCK_FLOW: dict[str, object] = {"PERMISSION": "public"}
