"""What an earlier version has left in a database is there after `migrate`, exact, and goes on. Row 225."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import postgres
from tests.harness.daemons import ROOT

HERE = Path(__file__).parent
VERSIONS = sorted(path.name.removesuffix(".sql.gz") for path in HERE.glob("*.sql.gz"))
# Since when there is what.
COUNTS, MESSAGES, METRICS = "v0.2", "v0.3", "v0.4"


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with postgres.server() as server:
        yield server


def psql(url: str, statement: str) -> str:
    done = subprocess.run(
        [postgres.binaries() / "psql", "-v", "ON_ERROR_STOP=1", "-qAt", url],
        input=statement, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def run(url: str, *arguments: str) -> str:
    """Run Python in the project, today's code on that database; returns what it said."""
    env = {**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "tests.upgrades.settings"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def life(url: str, what: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(url, "-m", "tests.upgrades.life", what).splitlines()[-1])
    return found


LEFT = """
    SELECT count(*) FROM (
        SELECT tgname FROM pg_trigger WHERE tgname LIKE 'kck\\_%'
        UNION ALL SELECT proname FROM pg_proc WHERE proname LIKE 'kck\\_%'
        UNION ALL SELECT relname FROM pg_class WHERE relname LIKE 'kck\\_%'
    ) AS every
"""


@pytest.mark.slow
@pytest.mark.once("oldest")
@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_version_left_is_served_counted_and_goes_on_after_an_upgrade_row_225(
    server: Any, version: str
) -> None:
    name = version.replace(".", "_")
    psql(server.url, f"CREATE DATABASE {name}")
    url = f"{server.url.rpartition('/')[0]}/{name}"
    psql(url, gzip.decompress((HERE / f"{version}.sql.gz").read_bytes()).decode())
    run(url, "manage.py", "migrate", "--run-syncdb", "-v0")
    run(url, "manage.py", "makemigrations", "--check", "--dry-run", "kck_flow")
    found = life(url, "tell")
    assert (found["kept"], found["history"]) == ({"n": 2}, ['{"n": 1}', '{"n": 2}'])
    assert (found["loose"], found["version"]) == ("by hand", 2)
    assert found["costly"] == 1007  # as it was computed then, and not anew: there is one row less
    assert (found["open"], found["done"]) == ((3, 3) if version >= COUNTS else (7, 0))
    assert found["plans"] == ({"pro": 3} if version >= COUNTS else {"pro": 4, "free": 3})
    assert found["events"] == (3 if version >= COUNTS else 0)
    assert found["paid"] == (12 if version >= MESSAGES else 0)
    assert found["entries"] == (1 if version >= METRICS else 0)
    # The triggers of then have made room for those of now.
    assert life(url, "go on")["open"] == found["open"] + 1
    run(url, "manage.py", "kck", "check", "--setup")
    run(url, "manage.py", "migrate", "kck_flow", "zero", "-v0")
    assert psql(url, LEFT) == "0"
