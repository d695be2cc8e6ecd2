"""Settings of every Django contestant; what differs between them comes in environment variables."""

from __future__ import annotations

import json
import os

_places = json.loads(os.environ["BENCH_PLACES"])
_postgres = _places.get(os.environ.get("BENCH_THROUGH", "postgres"), {})
_redis = _places.get("redis", {})
_redis_number = 10 * _places.get("phase", 0)

SECRET_KEY = "not secret: nothing here is served"
DEBUG = False
USE_TZ = os.environ.get("BENCH_USE_TZ", "1") == "1"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [app for app in os.environ.get("BENCH_APPS", "").split(",") if app]
ROOT_URLCONF = os.environ.get("BENCH_URLS", "benchmarks.project.settings")
STATIC_URL = "/static/"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
urlpatterns: list[object] = []

if "port" in _postgres:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": os.environ["BENCH_DATABASE"],
            "HOST": _postgres["host"],
            "PORT": str(_postgres["port"]),
            "USER": _postgres["user"],
            "PASSWORD": _postgres["password"],
            "CONN_MAX_AGE": None,
            "DISABLE_SERVER_SIDE_CURSORS": True,
        }
    }

CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
    # Without MAX_ENTRIES each of these would throw a third away at every set above 300 entries.
    "db": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "bench_cache",
        "TIMEOUT": None,
        "OPTIONS": {"MAX_ENTRIES": 10**9},
    },
    "locmem": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "TIMEOUT": None,
        "OPTIONS": {"MAX_ENTRIES": 10**9},
    },
    "redis": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": f"redis://127.0.0.1:{_redis.get('port', 6379)}/{1 + _redis_number}",
        "TIMEOUT": None,
    },
}

# cacheops: its simple cache and its cached_as, on a Redis database of its own.
CACHEOPS_REDIS = f"redis://127.0.0.1:{_redis.get('port', 6379)}/{2 + _redis_number}"
CACHEOPS = {"bench.order": {"ops": "all", "timeout": 3600}}

KCK_FLOW = json.loads(os.environ.get("BENCH_KCK_FLOW", "{}"))

TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["stderr"], "level": "ERROR"},
}
