"""tools/postgres.py: a server that is there when it is needed and gone when it is not."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import postgres
from tests.harness.daemons import ROOT, Daemon
from tests.harness.wait import until

pytestmark = pytest.mark.once("newest")
TOOL = [sys.executable, str(ROOT / "tools" / "postgres.py")]

# What the tool runs for us: it tells its URL, asks the database something and, when told to end, asks again.
COMMAND = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.settings import database
from django.conf import settings
settings.configure(DATABASES={{"default": database(os.environ["DATABASE_URL"])}})
from django.db import connection
def ask(sql):
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0] if cursor.description else None
print("url", os.environ["DATABASE_URL"], flush=True)
ask("CREATE TABLE IF NOT EXISTS visit (at timestamptz DEFAULT now())")
ask("INSERT INTO visit DEFAULT VALUES")
visits = ask("SELECT count(*) FROM visit")
def end(number, frame):
    print("ended by", number, "with an answer:", ask("SELECT 42"), flush=True)
    sys.exit(7)
signal.signal(signal.SIGINT, end)
signal.signal(signal.SIGTERM, end)
print("visits", visits, flush=True)
if len(sys.argv) > 1:
    sys.exit(int(sys.argv[1]))
while True:
    signal.pause()
"""


@pytest.fixture(scope="module")
def initialised() -> Iterator[Path]:
    """A data folder as a first start leaves it; copied, since making it takes longer than most tests."""
    with tempfile.TemporaryDirectory(prefix="kck_flow_test_") as temporary:
        Path(temporary).chmod(0o711)  # pytest's own temporary folders are closed to the server's user
        with postgres.server(Path(temporary) / "data"):
            pass
        yield Path(temporary) / "data"


@pytest.fixture
def data_dir(initialised: Path) -> Iterator[Path]:
    folder = initialised.with_name("copy")
    subprocess.run(["cp", "-a", initialised, folder], check=True)
    yield folder
    _close_all()
    removed = tool("remove", "--data", str(folder))
    assert removed.wait() == 0, removed.output
    assert not folder.exists()
    _close_all()


_started: list[Daemon] = []


def tool(*arguments: str, env: dict[str, str] | None = None) -> Daemon:
    """Start the tool as if DATABASE_URL were not set, which it is for the tests."""
    daemon = Daemon([*TOOL, *arguments], env={"DATABASE_URL": "", **(env or {})})
    _started.append(daemon)
    return daemon


def _close_all() -> None:
    while _started:
        _started.pop().close()


def run(data_dir: Path, *arguments: str) -> Daemon:
    return tool("run", "--data", str(data_dir), "--", sys.executable, "-c", COMMAND, *arguments)


def server_of(data_dir: Path) -> int | None:
    """Return the pid of the server that runs on this folder, or None."""
    return postgres._running(data_dir / "cluster")


def test_a_command_gets_a_database_and_its_exit_code_is_passed_on(data_dir: Path) -> None:
    first = run(data_dir, "5")
    assert first.wait() == 5, first.output
    assert first.wait_for("visits (.*)").group(1) == "1"
    assert server_of(data_dir) is None

    assert stat.S_IMODE((data_dir / "state.json").stat().st_mode) == 0o600
    again = run(data_dir, "0")
    assert again.wait() == 0, again.output
    assert again.wait_for("visits (.*)").group(1) == "2"


def test_a_throwaway_server_leaves_nothing() -> None:
    with tempfile.TemporaryDirectory(prefix="kck_flow_test_") as temporary:
        Path(temporary).chmod(0o711)
        ran = tool("run", "--", sys.executable, "-c", COMMAND, env={"TMPDIR": temporary})
        url = ran.wait_for("url (postgresql://kck_flow:.{32}@127.0.0.1:[0-9]+/kck_flow)").group(1)
        (folder,) = Path(temporary).iterdir()
        pid = server_of(folder)
        assert pid is not None
        ran.wait_for("visits")
        assert ran.stop() == 7, ran.output
        assert list(Path(temporary).iterdir()) == []
        assert not postgres._alive(pid)
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", urlsplit(url).port or 0))


def test_a_throwaway_server_leaves_nothing_even_when_its_owner_is_killed() -> None:
    with tempfile.TemporaryDirectory(prefix="kck_flow_test_") as temporary:
        Path(temporary).chmod(0o711)
        ran = tool("run", "--", sys.executable, "-c", COMMAND, env={"TMPDIR": temporary})
        ran.wait_for("visits")
        ran.kill()
        until(lambda: list(Path(temporary).iterdir()) == [], "the guard to remove the folder")
    _close_all()


def test_ctrl_c_ends_the_command_before_its_database(data_dir: Path) -> None:
    running = run(data_dir)
    running.wait_for("visits")
    os.killpg(running.pid, signal.SIGINT)  # what the terminal does: every process of the group is told
    running.wait_for("ended by 2 with an answer: 42")
    assert running.wait() == 7
    assert server_of(data_dir) is None


def test_a_request_to_end_is_passed_on_to_the_command(data_dir: Path) -> None:
    running = run(data_dir)
    running.wait_for("visits")
    running.send(signal.SIGTERM)
    running.wait_for("ended by 15 with an answer: 42")
    assert running.wait() == 7
    assert server_of(data_dir) is None


def test_a_killed_owner_leaves_a_folder_that_the_next_one_can_use_at_once(data_dir: Path) -> None:
    killed = run(data_dir)
    killed.wait_for("visits 1")
    orphan = server_of(data_dir)
    assert orphan is not None
    killed.kill()

    following = run(data_dir, "0")  # waits for the guard, which is stopping the orphan
    assert following.wait() == 0, following.output
    following.wait_for("visits 2")
    assert server_of(data_dir) is None
    assert not postgres._alive(orphan)


def test_an_orphan_without_a_guard_is_stopped_by_the_next_owner(data_dir: Path) -> None:
    killed = run(data_dir)
    killed.wait_for("visits 1")
    for guard in _guards(killed.pid):
        os.kill(guard, signal.SIGKILL)
    killed.kill()
    assert server_of(data_dir) is not None

    following = run(data_dir, "0")
    assert following.wait() == 0, following.output
    following.wait_for("visits 2")


def test_a_folder_in_use_is_refused_with_the_name_of_its_user(data_dir: Path) -> None:
    first = run(data_dir)
    first.wait_for("visits 1")
    second = run(data_dir)
    assert second.wait() == 1
    assert f"{data_dir} is in use by process {first.pid}" in second.output
    assert first.stop() == 7


def test_a_server_left_running_is_found_again_until_it_is_stopped(data_dir: Path) -> None:
    folder = ("--data", str(data_dir))
    assert tool("url", *folder).wait() == 1
    started = tool("start", *folder)
    assert started.wait() == 0, started.output
    pid = server_of(data_dir)
    for arguments in (("url", *folder), ("start", *folder)):
        said = tool(*arguments)
        assert said.wait() == 0
        assert said.output == started.output
    used = run(data_dir, "0")
    assert used.wait() == 0, used.output
    assert server_of(data_dir) == pid

    assert tool("stop", *folder).wait() == 0
    assert server_of(data_dir) is None


def test_a_stale_pid_file_is_no_obstacle(data_dir: Path) -> None:
    with postgres.server(data_dir) as server:
        left = (server._cluster / "postmaster.pid").read_text()
    # The number belongs to somebody else by now, as it does when a folder has moved between containers.
    (server._cluster / "postmaster.pid").write_text(left.replace(str(left.split()[0]), str(os.getpid()), 1))
    with postgres.server(data_dir) as server:
        assert server.pid == server_of(data_dir)


def test_a_given_database_is_used_and_nothing_started() -> None:
    url = os.environ["DATABASE_URL"]
    ran = tool(
        "run",
        "--",
        sys.executable,
        "-c",
        COMMAND.replace("visit", "visit_elsewhere"),
        "3",
        env={"DATABASE_URL": url},
    )
    assert ran.wait() == 3, ran.output
    ran.wait_for("url " + url.partition("?")[0])
    assert tool("url", "--data", "/nowhere", env={"DATABASE_URL": url}).wait() == 0


def test_a_bad_setting_is_answered_with_the_end_of_the_log(data_dir: Path) -> None:
    with (
        pytest.raises(postgres.PostgresFailed, match="unrecognized configuration parameter"),
        postgres.server(data_dir, options={"no_such_setting": 1}),
    ):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="anybody but root runs the server as himself")
def test_a_folder_that_only_root_can_enter_will_do(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with postgres.server(closed / "data") as server:
        assert (closed / "data" / "elsewhere" / "cluster" / "PG_VERSION").exists()
        assert Path(f"/proc/{server.pid}").stat().st_uid == postgres.NOBODY
    home = (closed / "data" / "elsewhere").resolve()
    postgres._remove(closed / "data")
    assert not home.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="anybody but root uses the binaries where they are")
def test_binaries_that_only_root_can_reach_are_copied(
    initialised: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = postgres.binaries().parents[1]
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for path in (package, package.with_name(package.name + ".libs")):
        if path.exists():
            (closed / path.name).symlink_to(path)
    monkeypatch.setattr(postgres, "CACHE", initialised.with_name("cache"))
    monkeypatch.syspath_prepend(str(closed))
    found = postgres.binaries()
    assert found.is_relative_to(initialised.with_name("cache"))
    with postgres.server() as server:
        assert server._bin == found
    home, kept = found.parents[2], found.stat().st_ino
    postgres._copy_binaries(
        closed / package.name, home, found
    )  # by somebody who began when there was none yet
    assert found.stat().st_ino == kept, "taken away from under those who use it"


def _guards(owner: int) -> list[int]:
    def is_guard(folder: Path) -> bool:
        try:
            return f"_guard\0{owner}\0" in (folder / "cmdline").read_text()
        except OSError:
            return False

    return until(
        lambda: [
            int(folder.name)
            for folder in Path("/proc").iterdir()
            if folder.name.isdigit() and is_guard(folder)
        ],
        "the guard",
    )


def test_the_tests_themselves_run_on_a_database_of_ours_or_a_given_one() -> None:
    with postgres.database() as url:
        assert url == os.environ["DATABASE_URL"]
