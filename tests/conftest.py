"""What every test may use; and at the end, what this machine could not test and how to add it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.contenttypes.management import create_contenttypes
from django.db import connection
from django.db.backends.base.creation import TEST_DATABASE_PREFIX
from django.db.models.signals import post_migrate
from django.test.utils import setup_databases, teardown_databases
from hypothesis import HealthCheck, settings

from tests.harness import flushing, tools

if TYPE_CHECKING:
    from postgres import Server
    from tests.harness.pgbouncer import Pooler
    from tests.harness.processes import Crew
    from tests.harness.proxy import Proxy
    from tests.harness.rabbitmq import RabbitMQ

# How fast a busy machine draws its examples says nothing about the laws.
settings.register_profile("kck_flow", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kck_flow")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Have each flush do what is needed: most tables are empty anyway, and nobody here asks for the content types and
    permissions that would be made anew.
    """
    flushing.only_what_was_written()
    post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
    post_migrate.disconnect(create_contenttypes)
    if connection.settings_dict["NAME"].startswith(TEST_DATABASE_PREFIX):
        yield
        return
    # pytest-django makes the databases that marked tests name. Those with a site of their own are not marked, and where
    # none but them are run, it makes none.
    with django_db_blocker.unblock():
        made = setup_databases(verbosity=0, interactive=False, aliases=["default"])
    yield
    with django_db_blocker.unblock():
        teardown_databases(made, verbosity=0)


@pytest.fixture
def crew(transactional_db: None) -> Iterator[Crew]:
    """Spawn functions and commands in processes of their own, on the test's database."""
    from tests.harness.processes import Crew

    with Crew() as processes:
        yield processes


@pytest.fixture
def pooler(transactional_db: None) -> Iterator[Pooler]:
    """PgBouncer in transaction mode with ten server connections, in front of the test's database."""
    from tests.harness.pgbouncer import pgbouncer
    from tests.harness.processes import database_url_of

    with pgbouncer(database_url_of("default"), servers=10) as pooler:
        yield pooler


@pytest.fixture
def proxy(transactional_db: None) -> Iterator[Proxy]:
    """A network that fails on request, in front of the test's database."""
    from tests.harness.processes import database_url_of
    from tests.harness.proxy import Proxy

    with Proxy(database_url_of("default")) as proxy:
        yield proxy


@pytest.fixture
def redis_url() -> Iterator[str]:
    """A redis-server that keeps nothing."""
    from tests.harness.redis import redis

    with redis() as server:
        yield server.url


@pytest.fixture(scope="session")
def rabbitmq_broker() -> Iterator[RabbitMQ]:
    """A RabbitMQ, the same for all: it takes seconds to start."""
    from tests.harness.rabbitmq import rabbitmq

    with rabbitmq() as broker:
        yield broker


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A PostgreSQL for this test alone, migrated, that it may crash and restart."""
    import postgres
    from tests.harness.processes import Crew

    with postgres.server() as server, Crew(server.url) as crew:
        migrated = crew.manage("migrate", "--run-syncdb", "-v0")
        assert migrated.wait() == 0, migrated.output
        yield server


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose tool is missing here; fail it in CI, where nothing may be left out."""
    for marker in item.iter_markers():
        if (tool := tools.BY_MARKER.get(marker.name)) is not None:
            tool.need()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """End by printing what was left out, so that a green run does not claim more than it has seen."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = [str(report.longrepr[2]) for report in skipped if isinstance(report.longrepr, tuple)]
    missing = {tool: sum(tool.told in reason for reason in reasons) for tool in tools.ALL}
    if any(missing.values()):
        terminalreporter.section("left out on this machine", yellow=True)
        for tool, count in missing.items():
            if count:
                terminalreporter.line(f"{count:4} tests need {tool.name:12} add it with: {tool.how}")
