"""The test project with the topics of these tests: what processes of their own are started with."""

import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as _APPS

INSTALLED_APPS = [*_APPS, "tests.topics"]
# They look again at once: most of the time a batch is under way.
KCK_FLOW = json.loads(os.environ.get("KCK_TEST_FLOW") or '{"FLUSH_INTERVAL": 0.01}')
