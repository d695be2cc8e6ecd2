"""A redis-server: for the peers that need one, and for the streams that messages come from."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator

from tests.harness import tools
from tests.harness.daemons import Daemon, listening


class RedisServer:
    """A running redis-server.

    Attributes:
        url: Where it listens; the same after a restart.
    """

    def __init__(self, program: str, folder: str, *, keeps: bool) -> None:
        self._program, self._folder, self._keeps = program, folder, keeps
        self._daemon, self._port = listening(self._launch, "eady to accept connections")
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def _launch(self, port: int) -> Daemon:
        kept = "--appendonly yes --appendfsync always" if self._keeps else "--appendonly no"
        command = f"--bind 127.0.0.1 --port {port} {kept} --dir {self._folder} --save"
        return Daemon([self._program, *command.split(), ""], cwd=self._folder)

    def restart(self) -> None:
        """Kill it and start it again on the same port, with what it kept."""
        self._daemon.close()
        self._daemon = self._launch(self._port)
        self._daemon.wait_for("eady to accept connections")

    def stop(self) -> None:
        """Kill it."""
        self._daemon.close()

    def close(self) -> None:
        self._daemon.close()


@contextlib.contextmanager
def redis(*, keeps: bool = False) -> Iterator[RedisServer]:
    """Run a redis-server, which keeps what it has through a restart or not; skip the test where it is missing."""
    program = tools.REDIS.need()
    with (
        tempfile.TemporaryDirectory(prefix="kck_flow_redis_") as folder,
        contextlib.closing(RedisServer(program, folder, keeps=keeps)) as server,
    ):
        yield server
