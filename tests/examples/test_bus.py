"""The bus example as one meets it: `prove.py` kills what runs, and what was sent is what was counted.

What the example's functions do is tested where they live: `examples/bus/manage.py test bus`.
"""

from __future__ import annotations

import re
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.examples.databases import Database, empty_database
from tests.harness.daemons import ROOT, Daemon
from tests.harness.wait import until

EXAMPLE = ROOT / "examples" / "bus"
SCHEMA = "kck_flow_bus"
PATIENCE = 240.0  # seconds


@contextmanager
def running(database: Database, *command: str) -> Iterator[Daemon]:
    daemon = Daemon(
        [sys.executable, *command],
        env={
            "DATABASE_URL": database.url,
            "DATABASE_SCHEMA": SCHEMA,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PYTHONPATH": str(ROOT),
            "TEST_DATABASE": f"kck_test_{secrets.token_hex(4)}",
        },
        cwd=EXAMPLE,
    )
    try:
        yield daemon
    finally:
        daemon.close()


@pytest.fixture
def database() -> Iterator[Database]:
    with empty_database() as database:
        yield database


def test_the_example_s_own_tests(database: Database) -> None:
    with running(database, "manage.py", "test", "bus", "--noinput") as run:
        assert run.wait(limit=PATIENCE) == 0, run.output
        assert re.search(r"^Ran [1-9]\d* tests", run.output, re.M), run.output


@pytest.mark.slow
@pytest.mark.once("oldest")
def test_what_was_sent_is_counted_whoever_was_killed(database: Database) -> None:
    database.ask("CREATE TABLE bus_run (id int)")
    options = ("--rate", "400/s", "--seconds", "8", "--kills", "8", "--seed", "3")
    for _ in range(2):  # the second makes its schema anew
        with running(database, "prove.py", *options) as run:
            assert run.wait(limit=PATIENCE) == 0, run.output
        said = run.output
        assert re.search(r"^3,200 messages sent, [4-9],\d{3} times; 3,200 in the log$", said, re.M), said
        killed = re.search(
            r"^Killed: generator (\d+) times, consumer 1 (\d+) times, consumer 2 (\d+) times", said, re.M
        )
        assert killed, said
        assert sum(map(int, killed.groups())) == 8
        assert re.search(r"^by_user +3,200 +3,200 +\d+ +0$", said, re.M), said
        assert "Every message that was sent is counted, once." in said
        assert said.count(" 0\n") >= 8
    tables = database.ask(
        "SELECT table_schema || '.' || table_name FROM information_schema.tables "
        "WHERE table_schema NOT IN ('pg_catalog', 'information_schema', %s)",
        SCHEMA,
    )
    assert tables == [("public.bus_run",)]
    # One that is counted wrongly is named.
    database.ask(f"UPDATE {SCHEMA}.kck_product SET value = '1' WHERE key = 'by_package/gcc'")
    with running(database, "manage.py", "audit") as audit:
        assert audit.wait() == 1
        assert re.search(r"^by_package +3,200 +\d,?\d+ +12 +1$", audit.output, re.M), audit.output
        assert "by_package/gcc" in audit.output.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.once("oldest")
def test_a_proof_that_is_stopped_leaves_nothing_running(database: Database) -> None:
    with running(database, "prove.py", "--seconds", "300", "--kills", "1") as run:
        busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        until(lambda: database.ask(busy)[0][0] >= 3, "generator and consumers to be connected", limit=60)
        run.send(signal.SIGINT)
        assert run.wait(limit=60) == 130, run.output
        until(lambda: database.ask(busy)[0][0] == 0, "all of them to be gone", limit=30)


def test_a_schema_of_somebody_else_s_is_refused(database: Database) -> None:
    database.ask(f"CREATE SCHEMA {SCHEMA}")
    with running(database, "prove.py", "--seconds", "1") as run:
        assert run.wait(limit=60) == 1
    assert "did not make" in run.output
