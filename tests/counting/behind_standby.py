"""Settings of a process whose default database is a standby, and whose router writes to its primary (PRIMARY_URL)."""

import os
from typing import Any

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES as ITS_OWN
from tests.settings import database

DATABASES = {"default": ITS_OWN["default"], "primary": database(os.environ["PRIMARY_URL"])}
DATABASE_ROUTERS = ["tests.counting.behind_standby.Router"]
KCK_FLOW = {"DATABASES": ["primary"]}


class Router:
    """Reads go to the standby, writes to the primary: two connections to one database."""

    def db_for_read(self, model: Any, **_: Any) -> str:
        return "default"

    def db_for_write(self, model: Any, **_: Any) -> str:
        return "primary"

    def allow_relation(self, *_: Any, **__: Any) -> bool:
        return True
