"""A RabbitMQ of Debian's package, with its own epmd: it neither meets nor leaves behind anything of the machine's."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.harness import tools
from tests.harness.daemons import NOBODY, Daemon, free_port, listening

# Far beyond what it takes to start on a busy machine.
LIMIT = 120.0


class RabbitMQ:
    """A running RabbitMQ.

    Attributes:
        url: Of its only virtual host.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder
        self._names, self._epmd = listening(
            lambda port: Daemon(
                ["epmd", "-debug", "-port", str(port), "-address", "127.0.0.1"], cwd="/", unprivileged=True
            ),
            "running",
        )
        self._daemon: Daemon | None = None
        for attempts_left in (3, 2, 1, 0):
            self._port, self._between = free_port(), free_port()
            try:
                self.start()
                break
            except AssertionError:
                self.stop()
                if not attempts_left:
                    raise
        self.url = f"amqp://guest:guest@127.0.0.1:{self._port}//"

    @property
    def pid(self) -> int:
        """The process that is killed by the kernel when the tests are."""
        assert self._daemon is not None
        return self._daemon.pid

    def start(self) -> None:
        """Start it, with what it kept."""
        (self._folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self._port}\n"
            "log.console = true\nlog.console.level = warning\nlog.file = false\n"
        )
        (self._folder / "enabled_plugins").write_text("[].\n")
        env = {
            "HOME": str(self._folder),  # the cookie's place
            "ERL_EPMD_PORT": str(self._epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"kck_flow_{self._port}@localhost",
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self._folder / "generated"),
            "RABBITMQ_CONF_ENV_FILE": str(self._folder / "none"),
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
            # The script becomes the broker. It would start it, wait, and leave it behind when it is killed with us.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_DIST_PORT": str(self._between),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}",
        }
        if os.geteuid() == 0:
            for path in (self._folder, *self._folder.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        self._daemon = Daemon([self._program], env=env, cwd=self._folder, unprivileged=True)
        self._daemon.wait_for("completed with", limit=LIMIT)

    def stop(self) -> None:
        """End it with -9."""
        if self._daemon is not None:
            self._daemon.close()

    def restart(self) -> None:
        """Ask it to end, and start it again on the same port. Killed, it forgets the queues made moments ago."""
        assert self._daemon is not None
        self._daemon.stop(limit=LIMIT)
        self.stop()
        self.start()

    def close(self) -> None:
        self.stop()
        self._names.close()


@contextlib.contextmanager
def rabbitmq() -> Iterator[RabbitMQ]:
    """Run a RabbitMQ; skip the test where it is missing."""
    program = tools.RABBITMQ.need()
    folder = Path(tempfile.mkdtemp(prefix="kck_flow_rabbitmq_"))
    try:
        with contextlib.closing(RabbitMQ(program, folder)) as broker:
            yield broker
    finally:
        shutil.rmtree(folder, ignore_errors=True)
