"""The programs that some tests start, and what becomes of a test where one is missing."""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass

import pytest

# Debian keeps daemons where an ordinary user's PATH does not look.
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/sbin"])


@dataclass(frozen=True)
class Tool:
    """A program, or a package, that a test may need.

    Attributes:
        name: What the summary calls it.
        programs: Any of these will do.
        how: The command that adds it on Debian.
        packages: Or all of these, in the environment of the tests.
    """

    name: str
    programs: tuple[str, ...]
    how: str
    packages: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """The words by which the summary recognises a test that was skipped for want of this tool."""
        return f"{self.name} is missing here"

    def path(self) -> str | None:
        """Return the program's path (a package's name), or None."""
        if self.packages:
            found = [name for name in self.packages if importlib.util.find_spec(name) is not None]
            return self.name if len(found) == len(self.packages) else None
        return next((found for name in self.programs if (found := shutil.which(name, path=_PATH))), None)

    def need(self) -> str:
        """Return the program's path; without it skip the test, or in CI fail it."""
        found = self.path()
        if found is not None:
            return found
        if os.environ.get("CI", "").lower() in ("", "0", "false"):
            pytest.skip(f"{self.told}: {self.how}")
        pytest.fail(f"{self.told}, and in CI nothing may be left out: {self.how}", pytrace=False)


PGBOUNCER = Tool("pgbouncer", ("pgbouncer",), "apt-get install pgbouncer")
REDIS = Tool("redis-server", ("redis-server",), "apt-get install redis-server")
# Debian's command of that name on the PATH wants to be root, and becomes the user of the service.
RABBITMQ = Tool(
    "rabbitmq-server", ("/usr/lib/rabbitmq/bin/rabbitmq-server",), "apt-get install rabbitmq-server"
)
NATS = Tool("nats-server", ("nats-server",), "apt-get install nats-server")
BROWSER = Tool("chromium", ("chromium", "chromium-browser", "google-chrome"), "apt-get install chromium")
CELERY = Tool("celery", (), "pip install 'kck-flow[celery]'", ("celery",))
TASKS = Tool("django-tasks-db", (), "pip install 'kck-flow[tasks]' django-tasks-db", ("django_tasks_db",))
PROCRASTINATE = Tool(
    "procrastinate", (), "pip install 'kck-flow[procrastinate]'", ("procrastinate", "psycopg")
)
RQ = Tool("rq", (), "pip install rq", ("rq",))

ALL = (PGBOUNCER, REDIS, RABBITMQ, NATS, BROWSER, CELERY, TASKS, PROCRASTINATE, RQ)
BY_MARKER = {
    "needs_pgbouncer": PGBOUNCER,
    "needs_redis": REDIS,
    "needs_rabbitmq": RABBITMQ,
    "needs_nats": NATS,
    "needs_browser": BROWSER,
    "needs_celery": CELERY,
    "needs_tasks": TASKS,
    "needs_procrastinate": PROCRASTINATE,
    "needs_rq": RQ,
}
