"""Django's own tests of what every cache backend must do, with ours as the backend."""

from cache.tests import BaseCacheTests, caches_setting_for_tests
from django.test import TestCase, TransactionTestCase, override_settings

CACHES = caches_setting_for_tests(
    BACKEND="kck_flow.contrib.django_cache.ProductCache",
    LOCATION="spam",
)


@override_settings(CACHES=CACHES, USE_TZ=True)
class Committed(BaseCacheTests, TransactionTestCase):
    """Each change commits, as in a request without a transaction."""

    available_apps = ["cache", "kck_flow"]


@override_settings(CACHES=CACHES, USE_TZ=True)
class InATransaction(BaseCacheTests, TestCase):
    """All of it in one transaction, as with ATOMIC_REQUESTS."""
