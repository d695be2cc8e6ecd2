#!/usr/bin/env python3
"""The bus example's proof: kill whatever runs, again and again, and show that what was sent is what was counted.

    prove.py                                   a generator and two consumers for 30 s, killed 20 times
    prove.py --rate 2000/s --seconds 300 --kills 100 --consumers 4

Each kill is a ``kill -9`` of a generator or consumer that is at work, chosen at random; another takes its place. At the
end, `manage.py audit` puts what was sent beside what each product holds; it exits with 1 where they differ.

The database is the one that DATABASE_URL names; without one, a PostgreSQL of its own that is gone afterwards. All
tables are made in a schema of the example's own, `kck_flow_bus`, which is made anew each time: nothing else in the
database is read or changed, and a schema of that name that the example did not make is refused.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
SCHEMA = "kck_flow_bus"
BEGINS_WITHIN = 60.0  # seconds, for a process to be at work
ENDS_WITHIN = 120.0  # seconds, for what is left to be handled


class ProofFailed(Exception):
    """It cannot go on; the message says why."""


class Stopped(BaseException):
    """Somebody asked the proof to stop."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Part:
    """A process that is killed and begun again; what it says is in a file."""

    def __init__(
        self, name: str, ready: bytes, arguments: Sequence[str], folder: Path, environment: dict[str, str]
    ) -> None:
        self.name, self._ready, self._arguments, self._environment = name, ready, arguments, environment
        self.log = folder / f"{name.replace(' ', '-')}.log"
        self.log.write_bytes(b"")
        self.begin()

    def begin(self) -> None:
        """Start it; a new one where one was killed."""
        self._from = self.log.stat().st_size
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                manage(*self._arguments),
                cwd=HERE,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is told to us alone
                preexec_fn=_die_with_parent(),
            )

    def said(self) -> bytes:
        return self.log.read_bytes()[self._from :]

    @property
    def is_at_work(self) -> bool:
        """Whether it has come so far as to send or to handle something, and has not ended."""
        return self.process.poll() is None and self._ready in self.said()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(ENDS_WITHIN)
        finally:
            self.kill()

    def check(self) -> None:
        """Raise ProofFailed where it has ended by itself, and with an error."""
        if self.process.poll():
            end = self.said().decode(errors="replace")[-3000:]
            raise ProofFailed(f"The {self.name} ended with exit code {self.process.returncode}:\n{end}")


def _die_with_parent() -> Any:
    """Return what a child does before it begins so that it ends when we are killed; None where it cannot."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def set_it() -> None:
        prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # killed in between
            os._exit(1)

    return set_it


def manage(*arguments: str) -> list[str]:
    return [sys.executable, str(HERE / "manage.py"), *arguments]


def do(environment: dict[str, str], *arguments: str) -> int:
    """Run a management command to its end, its output ours; returns its exit code."""
    done = subprocess.Popen(
        manage(*arguments), cwd=HERE, env=environment, start_new_session=True, preexec_fn=_die_with_parent()
    )
    try:
        return done.wait()
    finally:
        if done.poll() is None:
            done.kill()
            done.wait()


def must(environment: dict[str, str], *arguments: str) -> None:
    code = do(environment, *arguments)
    if code:
        raise ProofFailed(f"manage.py {' '.join(arguments)} failed (exit code {code}); see above.")


def prove(environment: dict[str, str], folder: Path, asked: argparse.Namespace) -> int:
    """Run generator and consumers, kill them, and compare; returns the exit code."""
    must(environment, "own_schema", "--anew")
    must(environment, "migrate", "--noinput", "-v0")
    generate = [
        "generate", "--rate", asked.rate, "--seconds", f"{asked.seconds:g}", "--seed", str(asked.seed),
        "--doubled", f"{asked.doubled:g}",
    ]  # fmt: skip
    parts: list[Part] = []
    try:
        generator = Part("generator", b"generating", generate, folder, environment)
        parts.append(generator)
        for number in range(asked.consumers):
            name = f"consumer {number + 1}"
            parts.append(Part(name, b"consumer \xc2\xb7", ["kck", "consume"], folder, environment))
        kill_some(parts, asked, random.Random(asked.seed))
        while generator.process.poll() is None:
            time.sleep(0.1)
        for part in parts:
            part.check()
        say(generator.said().decode().splitlines()[-1])
        say("Stopping the consumers; one more handles what is left.")
        for part in parts[1:]:
            part.stop()
    finally:
        for part in parts:
            part.kill()
    must(environment, "kck", "consume", "--once", "-v0")
    print(flush=True)
    return do(environment, "audit")


def kill_some(parts: Sequence[Part], asked: argparse.Namespace, draw: random.Random) -> None:
    """Kill one of them that is at work, and begin it again, so many times, spread over the time that it takes."""
    began = time.monotonic()
    killed = dict.fromkeys((part.name for part in parts), 0)
    for number in range(asked.kills):
        # The moment is drawn within its share of the time, or is now, where beginning anew took longer than that.
        moment = began + asked.seconds * 0.9 * (number + draw.random()) / asked.kills
        time.sleep(max(moment - time.monotonic(), draw.random() * 0.1))
        deadline = time.monotonic() + BEGINS_WITHIN
        while not (at_work := [part for part in parts if part.is_at_work]):
            for part in parts:
                part.check()
            if time.monotonic() > deadline:
                raise ProofFailed(
                    f"Nothing has begun to work within {BEGINS_WITHIN:.0f} s. See {parts[0].log.parent}"
                )
            time.sleep(0.02)
        chosen = draw.choice(at_work)
        chosen.kill()
        killed[chosen.name] += 1
        chosen.begin()
    say("Killed: " + ", ".join(f"{name} {times} times" for name, times in killed.items()) + ".")


@contextmanager
def database() -> Iterator[str]:
    """Yield the address of the database: DATABASE_URL's, or that of a server of our own while the block lasts."""
    if url := os.environ.get("DATABASE_URL"):
        yield url
        return
    sys.path.insert(0, str(REPOSITORY / "tools"))
    import postgres

    try:
        with postgres.server() as running:
            say("A PostgreSQL of its own is running, and goes when this ends.")
            yield running.url
    except postgres.PostgresFailed as error:
        raise ProofFailed(str(error)) from error


def stop_on_signals() -> None:
    def stop(number: int, frame: FrameType | None) -> NoReturn:
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(one, signal.SIG_IGN)  # what is left to do has an end
        raise Stopped

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="prove.py", description="Kill generator and consumers; sent = counted?"
    )
    parser.add_argument("--rate", default="500/s", help="messages a second (500/s)")
    parser.add_argument("--seconds", type=float, default=30, help="for how long (30)")
    parser.add_argument("--kills", type=int, default=20, help="how many (20)")
    parser.add_argument("--consumers", type=int, default=2, help="how many at once (2)")
    parser.add_argument("--doubled", type=float, default=0.5, help="the share that is sent twice (0.5)")
    parser.add_argument("--seed", type=int, default=1, help="of messages, and of who is killed when (1)")
    asked = parser.parse_args(arguments)
    stop_on_signals()
    try:
        with ExitStack() as stack:
            url = stack.enter_context(database())
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kck-bus-")))
            environment = {
                **os.environ,
                "DATABASE_URL": url,
                "DATABASE_SCHEMA": SCHEMA,
                "DJANGO_SETTINGS_MODULE": "config.settings",
                "PYTHONUNBUFFERED": "1",
            }
            return prove(environment, folder, asked)
    except ProofFailed as error:
        say(f"\n{error}")
        return 1
    except Stopped:
        say("Everything is stopped.")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
