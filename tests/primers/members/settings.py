"""A project whose user model is its own: UUIDs, other columns, no ``is_active``, a manager that hides some."""

import os

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.primers.members"]
MIGRATION_MODULES = {"shop": None, "members": None}
AUTH_USER_MODEL = "members.Member"
DATABASES["default"]["TEST"] = {"NAME": f"test_members_{os.getpid()}"}
