"""The test project with Unfold for the look of its admin, as a site that uvicorn serves."""

from tests.browser.living import *  # noqa: F403
from tests.browser.living import INSTALLED_APPS as BEFORE
from tests.browser.living import MIDDLEWARE as EARLIER
from tests.browser.living import TEMPLATES as PAGES

INSTALLED_APPS = ["unfold", "django.contrib.admin", "django.contrib.messages", *BEFORE]
ROOT_URLCONF = "tests.browser.unfolded_urls"
LOGIN_URL = "/admin/login/"
MIDDLEWARE = [
    "tests.browser.served.with_policy",
    *EARLIER[1:],
    "django.contrib.messages.middleware.MessageMiddleware",
]
PROCESSORS = [
    "django.template.context_processors.request",
    "django.contrib.auth.context_processors.auth",
    "django.contrib.messages.context_processors.messages",
]
TEMPLATES = [{**PAGES[0], "OPTIONS": {"context_processors": PROCESSORS}}]
