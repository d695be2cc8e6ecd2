"""A process of the test's, whose output is waited for line by line, and which cannot outlive the test."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534  # for programs that refuse to run as root
LIMIT = 30.0  # seconds; far beyond what anything here takes on a busy machine

PR_SET_PDEATHSIG = 1  # of prctl(2)
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies, even by -9 and even while stopped."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Ended(AssertionError):
    """A process ended before it said what was waited for."""


class Daemon:
    """A running program. Start it from a thread that lives as long as it is needed: it dies with that thread.

    Attributes:
        pid: Its process id.
        lines: What it has said so far on stdout and stderr, line by line, without line ends.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path = ROOT,
        unprivileged: bool = False,
        pass_fds: Sequence[int] = (),
    ) -> None:
        drop: dict[str, Any] = {}
        if unprivileged and os.geteuid() == 0:
            drop = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        self.command = [str(part) for part in command]
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            text=True,
            errors="replace",
            pass_fds=pass_fds,
            start_new_session=True,  # Ctrl-C is for the test, which then ends its processes
            preexec_fn=_die_with_parent,
            **drop,
        )
        self.pid = self._process.pid
        self.lines: list[str] = []
        self._heard = threading.Condition()
        self._finished = False
        self._seen = 0
        self._listener = threading.Thread(target=self._listen, name=f"listener of {self.pid}", daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                with self._heard:
                    self.lines.append(line.rstrip("\n"))
                    self._heard.notify_all()
        with self._heard:
            self._finished = True
            self._heard.notify_all()

    @property
    def output(self) -> str:
        """All it has said."""
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, *, limit: float = LIMIT) -> re.Match[str]:
        """Wait for the next line in which the regular expression is found; lines before it count as read.

        Raises:
            Ended: It ended without saying so.
            AssertionError: It did not say so within `limit` seconds.
        """
        wanted = re.compile(pattern)
        deadline = time.monotonic() + limit
        with self._heard:
            while True:
                while self._seen < len(self.lines):
                    self._seen += 1
                    if found := wanted.search(self.lines[self._seen - 1]):
                        return found
                if self._finished:
                    raise Ended(f"{self} ended and never said {pattern!r}. It said:\n{self.output}")
                if not self._heard.wait(deadline - time.monotonic()):
                    raise AssertionError(
                        f"{self} did not say {pattern!r} in {limit:g} s. It said:\n{self.output}"
                    )

    def wait(self, *, limit: float = LIMIT) -> int:
        """Wait for its end; return its exit code, -9 for a kill."""
        try:
            code = self._process.wait(limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self} did not end in {limit:g} s. It said:\n{self.output}") from None
        self._listener.join(limit)
        return code

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def pause(self) -> None:
        """Stop it in its tracks (SIGSTOP), as a suspended machine; returns when it stands or is gone."""
        self.send(signal.SIGSTOP)
        news = os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if news is not None and news.si_code == os.CLD_STOPPED:
            os.waitid(os.P_PID, self.pid, os.WSTOPPED)  # heard, so that the next pause does not hear it again

    def resume(self) -> None:
        """Let it go on from where it stood."""
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        """End it with -9, at once, with nothing tidied up; returns when it is gone, as it may already be."""
        if self.alive:
            self._process.kill()
        self._process.wait()
        self._listener.join(1.0)  # no longer: a process that it started may hold the other end of the pipe

    def close(self) -> None:
        """Kill it and whatever it started and left behind."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.kill()

    def stop(self, *, limit: float = LIMIT) -> int:
        """Ask it to end (SIGTERM) and return its exit code."""
        self.send(signal.SIGTERM)
        return self.wait(limit=limit)

    def __str__(self) -> str:
        return f"Process {self.pid} ({' '.join(self.command)[:200]})"


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listening(launch: Callable[[int], Daemon], ready: str) -> tuple[Daemon, int]:
    """Launch a server on a free port; return it with its port once it has said that it is `ready`.

    Between our look for a free port and the server's use of it somebody may take it; then we try another.
    """
    for attempts_left in (4, 3, 2, 1, 0):
        port = free_port()
        daemon = launch(port)
        try:
            daemon.wait_for(ready)
        except AssertionError:
            daemon.close()
            if not attempts_left or "in use" not in daemon.output:
                raise
        else:
            return daemon, port
    raise AssertionError("unreachable")
