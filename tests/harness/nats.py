"""A nats-server with JetStream, of Debian's package."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator

from tests.harness import tools
from tests.harness.daemons import Daemon, listening


class NATSServer:
    """A running nats-server.

    Attributes:
        url: Where it listens; the same after a restart.
    """

    def __init__(self, program: str, folder: str) -> None:
        self._program, self._folder = program, folder
        self._daemon, self._port = listening(self._launch, "Server is ready")
        self.url = f"nats://127.0.0.1:{self._port}"

    def _launch(self, port: int) -> Daemon:
        command = f"-js -a 127.0.0.1 -p {port} -sd {self._folder}"
        return Daemon([self._program, *command.split()], cwd=self._folder)

    def restart(self) -> None:
        """Kill it and start it again on the same port, with what it kept."""
        self._daemon.close()
        self._daemon = self._launch(self._port)
        self._daemon.wait_for("Server is ready")

    def close(self) -> None:
        self._daemon.close()


@contextlib.contextmanager
def nats_server() -> Iterator[NATSServer]:
    """Run a nats-server; skip the test where it is missing."""
    program = tools.NATS.need()
    with (
        tempfile.TemporaryDirectory(prefix="kck_flow_nats_") as folder,
        contextlib.closing(NATSServer(program, folder)) as server,
    ):
        yield server
