"""Case 25: what a dump holds, restored into another cluster, is never believed unseen."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import postgres
from tests.counting.elsewhere import empty_own_tables, fill, read, write_and_read
from tests.harness.processes import Crew


@pytest.fixture(scope="module")
def dumped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dump")
    with postgres.server() as server, Crew(server.url) as crew:
        assert crew.manage("migrate", "--run-syncdb", "-v0").wait() == 0
        found = crew.spawn(fill).result()
        assert (found["read"], found["rows"], found["state"]) == ({"free": 1, "pro": 4}, 5, "fresh")
        _tool("pg_dump", "-Fc", "-f", str(folder / "all"), server.url)
    return folder / "all"


def _tool(name: str, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [postgres.binaries() / name, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stderr


@pytest.mark.slow
@pytest.mark.once("oldest")
def test_25_a_whole_dump_is_exact_in_another_cluster(dumped: Path) -> None:
    with postgres.server() as server, Crew(server.url) as crew:
        _tool("pg_restore", "--no-owner", "-d", server.url, str(dumped))
        found = crew.spawn(read).result()
        # Its triggers are others than those it was counted under: it is counted once more, and then it is known.
        assert (found["read"], found["rows"], found["state"]) == ({"free": 1, "pro": 4}, 5, "empty")
        assert "what captures its table has changed" in found["cause"]
        found = crew.spawn(write_and_read).result()
        assert (found["read"], found["rows"], found["state"]) == ({"free": 1, "new": 1, "pro": 4}, 6, "fresh")


@pytest.mark.slow
@pytest.mark.once("oldest")
@pytest.mark.parametrize("triggers", ["on", "off"])
def test_25_data_alone_restored_under_other_triggers_is_counted_anew(dumped: Path, triggers: str) -> None:
    with postgres.server() as server, Crew(server.url) as crew:
        assert crew.manage("migrate", "--run-syncdb", "-v0").wait() == 0
        crew.spawn(empty_own_tables).result()
        # Where they are on, they write deltas of the restored rows, beside those of the dump.
        off, code = (["--disable-triggers"], 0) if triggers == "off" else ([], 1)
        _tool("pg_restore", "--data-only", *off, "--no-owner", "-d", server.url, str(dumped), code=code)
        found = crew.spawn(read).result()
        assert (found["read"], found["rows"]) == ({"free": 1, "pro": 4}, 5)
        assert found["state"] == "empty"
        assert crew.manage("migrate", "-v0").wait() == 0  # where they were off, they are not as they were
        found = crew.spawn(write_and_read).result()
        assert (found["read"], found["rows"]) == ({"free": 1, "new": 1, "pro": 4}, 6)
        assert crew.spawn(read).result()["state"] == "fresh"


@pytest.mark.slow
@pytest.mark.once("oldest")
def test_back_to_zero_leaves_no_trigger_no_function_and_no_table_behind_row_225() -> None:
    left = (
        "SELECT 'trigger', tgname FROM pg_trigger WHERE tgname LIKE 'kck\\_%'"
        " UNION ALL SELECT 'function', proname FROM pg_proc WHERE proname LIKE 'kck\\_%'"
        # But for the indexes of tables of events that are an app's own.
        " UNION ALL SELECT 'relation', c.relname FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid"
        " WHERE c.relname LIKE 'kck\\_%' AND coalesce(i.indrelid, c.oid)::regclass::text LIKE 'kck\\_%'"
        " UNION ALL SELECT 'type', typname FROM pg_type WHERE typname LIKE 'kck\\_%'"
    )
    with postgres.server() as server, Crew(server.url) as crew:
        assert crew.manage("migrate", "--run-syncdb", "-v0").wait() == 0
        assert crew.spawn(fill).result()["state"] == "fresh"
        back = crew.manage("migrate", "kck_flow", "zero", "-v0")
        assert back.wait() == 0, back.output
        done = subprocess.run(
            [postgres.binaries() / "psql", "-At", "-c", left, server.url],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == ""
        assert crew.manage("migrate", "-v0").wait() == 0  # and forward again
        crew.spawn(write_and_read).result()
        assert crew.spawn(read).result()["state"] == "fresh"
