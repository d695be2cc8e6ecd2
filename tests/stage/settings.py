"""The test project with the stage's products in it. KCK_TEST_FLOW is the KCK_FLOW of the process, as JSON."""

import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.stage"]
KCK_FLOW = json.loads(os.environ.get("KCK_TEST_FLOW") or "{}")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(levelname)s %(process)d %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"kck_flow": {"handlers": ["stderr"], "level": "INFO", "propagate": False}},
}
