"""The test project as a site that uvicorn serves: ``uvicorn tests.browser.served:application``.

KCK_TEST_FLOW is the KCK_FLOW of the process, as JSON.
"""

import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as BEFORE

INSTALLED_APPS = [one for one in BEFORE if "streams" not in one]
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = "tests.pages.urls"
LOGIN_URL = "/login/"
ASGI_APPLICATION = "tests.browser.served.application"
MIDDLEWARE = [
    "tests.browser.served.with_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
KCK_FLOW = json.loads(os.environ.get("KCK_TEST_FLOW") or "{}")
