"""Where Django's own tests of cache backends run against ours. DJANGO_TESTS: the folder that they are in."""

import os
import sys

sys.path.insert(0, os.environ["DJANGO_TESTS"])

from tests.settings import DATABASES, SECRET_KEY  # noqa: F401

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "kck_flow",
    "cache",
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
ROOT_URLCONF = "tests.contrib.suite.settings"
urlpatterns = []
