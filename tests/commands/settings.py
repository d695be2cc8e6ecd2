"""The test project with one app more, whose primers the commands of these tests find."""

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as BEFORE

INSTALLED_APPS = [*BEFORE, "tests.commands.bakery.apps.BakeryConfig"]
