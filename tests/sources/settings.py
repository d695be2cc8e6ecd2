"""The settings of processes of these tests: those of the others, with sources.

KCK_TEST_SOURCES    KCK_FLOW["SOURCES"] as JSON, beside what is sent by HTTP; durations are seconds
"""

import json
import os
from datetime import timedelta

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as _APPS
from tests.sources.urls import SOURCES as _SENT

_FETCHED = json.loads(os.environ.get("KCK_TEST_SOURCES", "{}"))
for _options in _FETCHED.values():
    _options |= {
        name: timedelta(seconds=_options[name]) for name in ("claim_after", "ack_wait") if name in _options
    }

INSTALLED_APPS = [*_APPS, "tests.sources"]
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "tests.sources.urls"
KCK_FLOW = {"SOURCES": {**_SENT, **_FETCHED}, "FLUSH_INTERVAL": 0.1}
