"""A redis-server, for the peers that need one: kck_flow itself never does."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator

from tests.harness import tools
from tests.harness.daemons import Daemon, listening


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """Run a redis-server that keeps nothing; yield its URL. Skip the test where it is missing."""
    program = tools.REDIS.need()
    with tempfile.TemporaryDirectory(prefix="kck_flow_redis_") as folder:

        def launch(port: int) -> Daemon:
            command = f"--bind 127.0.0.1 --port {port} --appendonly no --dir {folder} --save"
            return Daemon([program, *command.split(), ""], cwd=folder)

        daemon, port = listening(launch, "eady to accept connections")
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            daemon.close()
