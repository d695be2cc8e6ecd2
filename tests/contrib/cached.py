"""The test project with its cache on our tables."""

from tests.settings import *  # noqa: F403

CACHES = {"default": {"BACKEND": "kck_flow.contrib.django_cache.ProductCache", "LOCATION": "pages"}}
