"""Debian's PgBouncer in transaction mode, in front of a test's database."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.harness import tools
from tests.harness.daemons import NOBODY, Daemon, listening

CONFIG = """\
[databases]
* = host={host} port={port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
pool_mode = transaction
default_pool_size = {servers}
max_client_conn = {clients}
auth_type = scram-sha-256
auth_file = {folder}/users
admin_users = {user}
ignore_startup_parameters = extra_float_digits
"""


@dataclass
class Pooler:
    """A running PgBouncer.

    Attributes:
        url: The database behind it, to be used instead of the server's own URL.
        admin_url: Its console (SHOW POOLS, PAUSE, RESUME, KILL).
        port: On 127.0.0.1.
        daemon: Its process, to be paused or killed.
    """

    url: str
    admin_url: str
    port: int
    daemon: Daemon


@contextlib.contextmanager
def pgbouncer(database_url: str, *, servers: int = 10, clients: int = 400) -> Iterator[Pooler]:
    """Run a PgBouncer in front of `database_url`; skip the test where Debian's package is missing.

    Args:
        database_url: A database reached over TCP with a password.
        servers: Connections to the server that all clients share, one transaction at a time.
        clients: Connections that it accepts.
    """
    program = tools.PGBOUNCER.need()
    parts = urlsplit(database_url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    folder = Path(tempfile.mkdtemp(prefix="kck_flow_pgbouncer_"))
    daemon: Daemon | None = None
    try:

        def launch(port: int) -> Daemon:
            config = CONFIG.format(
                host=parts.hostname,
                port=parts.port or 5432,
                listen_port=port,
                servers=servers,
                clients=clients,
                folder=folder,
                user=user,
            )
            (folder / "ini").write_text(config)
            (folder / "users").write_text(
                " ".join('"' + text.replace('"', '""') + '"' for text in (user, password)) + "\n"
            )
            (folder / "users").chmod(0o600)
            if os.geteuid() == 0:  # which PgBouncer refuses to be
                for path in (folder, *folder.iterdir()):
                    os.chown(path, NOBODY, NOBODY)
            return Daemon([program, folder / "ini"], cwd="/", unprivileged=True)

        daemon, port = listening(launch, "process up")
        login = parts.netloc.rpartition("@")[0]
        here = f"postgresql://{login}@127.0.0.1:{port}"
        query = f"?{parts.query}" if parts.query else ""
        yield Pooler(f"{here}{parts.path}{query}", f"{here}/pgbouncer", port, daemon)
    finally:
        if daemon is not None:
            daemon.close()
        shutil.rmtree(folder, ignore_errors=True)
