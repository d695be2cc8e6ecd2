"""What R1 and R2 ask of an engine: workers in processes of their own, and a request for one job."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.contestants.base import Contestant
from benchmarks.measure import tree_cpu_ns, with_descendants
from benchmarks.product import lines_of

WARM_JOBS = 20
PATIENCE_SECONDS = 60.0


class Engine(Contestant):
    """An engine. Its job notes one line: the job's number, and the monotonic instant at which it began."""

    def __init__(self, name: str, places: dict[str, Any]) -> None:
        super().__init__(name, places)
        self.workers: list[subprocess.Popen[bytes]] = []
        self.log = ""

    # ------------------------------------------------------------ what an engine defines

    def command(self, number: int) -> list[str]:
        """Return the command of one worker."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Return the variables that its workers need, over this process's own."""
        return {}

    def request(self, number: int) -> None:
        """Ask for one job, as a web process would."""
        raise NotImplementedError

    # ------------------------------------------------------------ what the scenarios use

    @staticmethod
    def program(name: str) -> str:
        """Return a program of this environment."""
        return str(Path(sys.executable).with_name(name))

    def start(self, workers: int, log: str) -> None:
        """Start the workers and wait until they have done some jobs and are idle again."""
        self.log = log
        output = Path(log).with_suffix(".out").open("wb")
        for number in range(workers):
            self.workers.append(
                subprocess.Popen(
                    self.command(number),
                    env={**os.environ, **self.environment(), "BENCH_LOG": log},
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            )
        for number in range(WARM_JOBS):
            self.request(-1 - number)
        self.wait_for(WARM_JOBS)
        time.sleep(1.5)  # so that the slower of the workers, too, has started and found nothing to do

    def wait_for(
        self, jobs: int, seconds: float = PATIENCE_SECONDS, pause: float = 0.005
    ) -> list[tuple[int, int]]:
        """Wait until that many jobs have begun; return their numbers and instants, in order.

        Raises:
            RuntimeError: they did not in time, or a worker ended.
        """
        until = time.monotonic() + seconds
        size = -1
        while True:
            with contextlib.suppress(FileNotFoundError):
                # A line of n jobs has at least 15 bytes: do not read a growing file more often than it helps.
                grown = os.path.getsize(self.log)
                if grown != size and grown >= jobs * 15:
                    size = grown
                    lines = lines_of(self.log)
                    if len(lines) >= jobs:
                        return [(int(number), int(at)) for number, at in (line.split() for line in lines)]
            ended = [worker.returncode for worker in self.workers if worker.poll() is not None]
            if len(ended) == len(self.workers) or time.monotonic() > until:
                said = Path(self.log).with_suffix(".out").read_text(errors="replace").strip()[-200:]
                raise RuntimeError(
                    f"{jobs} jobs wanted in {seconds:.0f} s, fewer done; ended workers: {ended}; {said}"
                )
            time.sleep(pause)

    def hold(self) -> None:
        """Stop the workers' processes where they are."""
        self._signal(signal.SIGSTOP)

    def release(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def workers_cpu_ns(self) -> int:
        """Return the CPU time that the workers, with all that they started, have used so far."""
        return tree_cpu_ns(*(worker.pid for worker in self.workers))

    def stop(self) -> None:
        """End the workers, gently first."""
        self.release()
        for worker in self.workers:
            with contextlib.suppress(ProcessLookupError):
                worker.terminate()
        until = time.monotonic() + 8
        for worker in self.workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(max(0.1, until - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        self.workers.clear()

    def _signal(self, number: signal.Signals) -> None:
        for pid in with_descendants(*(worker.pid for worker in self.workers)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
