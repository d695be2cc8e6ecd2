"""The test project as a fleet's member has it. KCK_TEST_APPS: further apps, with commas."""

import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = [
    *INSTALLED_APPS,
    "kck_flow.executors.probe",
    *filter(None, os.environ.get("KCK_TEST_APPS", "").split(",")),
]
KCK_FLOW = json.loads(os.environ.get("KCK_TEST_FLOW") or "{}")
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "loggers": {"kck_flow": {"handlers": ["stderr"], "level": "INFO"}},
}
