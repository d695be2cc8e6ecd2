#!/usr/bin/env python3
"""The flights example, from nothing to a page: `make demo`, or `python examples/flights/demo.py`.

    demo.py              PostgreSQL, tables, flights, a worker, the web server, and the year replayed, four hours of it
                         a second; Ctrl-C stops everything
    demo.py --once       no serving: ask for a page of products cold, then warm, print both times; make the time frames
                         of a week, replay the year as fast as can be, and compare both with plain SQL; end
    demo.py --year       the time frames of the whole year, which takes longer than all the rest

The database is the one that DATABASE_URL names; without one, a PostgreSQL of its own in `.demo/postgres`. All
tables are made in a schema of the demo's own, `kck_flow_flights`: nothing else in the database is read or
changed, and a schema of that name that the demo did not make is refused.

What is started here ends here: on Ctrl-C, on SIGTERM, when a part fails, and where the system allows it
(Linux) also when this process is killed. Anything that survived that is found by its number and the moment of
its start when the demo is started again, and ended first.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import json
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
SCHEMA = "kck_flow_flights"
PORT = 8000
SPEED = 14_400  # seconds of 2013 in a second, where the year is replayed for somebody to look at
STARTS_WITHIN = 60.0  # seconds, for the web server to answer
STOPS_WITHIN = 40.0  # seconds; the worker gives what it is at 25


class DemoFailed(Exception):
    """It cannot go on; the message says why and what to do."""


class Stopped(BaseException):
    """Somebody asked the demo to stop."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# ------------------------------------------------------------------------------------------------ processes


class Part:
    """A process of the demo's, with its output in a file of its own."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: dict[str, str],
        folder: Path,
        *,
        ends: bool = False,
    ) -> None:
        self.name = name
        self.ends = ends  # of itself, when its work is done
        self.log = folder / f"{name.replace(' ', '-')}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=HERE,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is told to us alone: we stop the parts, in order
                preexec_fn=_die_with_parent(),
            )

    def check(self) -> None:
        """Raise DemoFailed if it has ended and should not have."""
        code = self.process.poll()
        if code is not None and not (self.ends and code == 0):
            end = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise DemoFailed(f"The {self.name} ended with exit code {code}. The end of {self.log}:\n{end}")

    def stop(self) -> None:
        """Ask it to end, wait, and end it."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            say(f"The {self.name} did not stop within {STOPS_WITHIN:.0f} s and was killed.")
        finally:
            # Its own children, if it left any, are in its session.
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
            self.process.wait()
        say(f"Stopped the {self.name}.")


def _die_with_parent() -> Any:
    """Return what a child does before it begins so that it ends when we are killed; None where it cannot."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def set_it() -> None:
        prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # killed in between
            os._exit(1)

    return set_it


def _started(pid: int) -> str | None:
    """Return what tells a process from a later one with the same number, or None if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    except OSError:
        if Path("/proc/self").exists():
            return None
    done = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or None


class Register:
    """Which processes are ours, in a file: so that those of a demo that was killed can be ended."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "processes.json"

    def end_leftovers(self) -> None:
        try:
            known = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return
        for name, pid, started in known:
            for number in (signal.SIGTERM, signal.SIGKILL):
                deadline = time.monotonic() + STOPS_WITHIN
                if _started(pid) != started:
                    break
                if number == signal.SIGTERM:
                    say(f"Ending the {name} of a demo that was killed (process {pid}).")
                os.kill(pid, number)
                while _started(pid) == started and time.monotonic() < deadline:
                    time.sleep(0.05)
        self.path.unlink(missing_ok=True)

    def write(self, parts: Sequence[Part]) -> None:
        told = [(part.name, part.process.pid, _started(part.process.pid)) for part in parts]
        told = [one for one in told if one[2] is not None]  # one that has ended needs no ending
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(told))
        fresh.replace(self.path)


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the folder: two demos would stop each other's processes."""
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise DemoFailed(
                f"A demo is running already (process {lock.read().strip() or '?'}). Stop that one first."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


# --------------------------------------------------------------------------------------------------- stages


class Demo:
    def __init__(self, folder: Path, url: str, *, year: bool = False) -> None:
        self.folder = folder
        self.url = url
        self.environment = {
            **os.environ,
            "DATABASE_URL": url,
            "DATABASE_SCHEMA": SCHEMA,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "SECRET_KEY": secrets.token_urlsafe(48),  # the same for all parts, and new each time
            "PYTHONUNBUFFERED": "1",
            **({"FRAMES": "2013"} if year else {}),
        }

    def manage(self, *arguments: str) -> list[str]:
        return [sys.executable, str(HERE / "manage.py"), *arguments]

    def do(self, *arguments: str) -> None:
        """Run a management command to its end, its output ours.

        Raises:
            DemoFailed: It failed, and has said why.
        """
        done = subprocess.Popen(
            self.manage(*arguments),
            cwd=HERE,
            env=self.environment,
            start_new_session=True,  # as with the parts: Ctrl-C is told to us alone
            preexec_fn=_die_with_parent(),
        )
        try:
            code = done.wait()
        finally:
            if done.poll() is None:
                os.killpg(
                    done.pid, signal.SIGKILL
                )  # and its own: what they had begun in the database is rolled back
                done.wait()
        if code:
            raise DemoFailed(f"manage.py {' '.join(arguments)} failed (exit code {code}); see above.")

    def prepare(self) -> None:
        """Make the schema, the tables and the flights, as far as they are not there yet."""
        self.do("own_schema")
        self.do("migrate", "--noinput", "-v0")
        self.do("load_flights")

    def once(self) -> None:
        self.do("page_twice")
        print("\nWhat this morning's report is made of (manage.py kck graph on_this_day):\n", flush=True)
        self.do("kck", "graph", "on_this_day")
        print("\nWeather and delays, window by window (manage.py fill_frames):\n", flush=True)
        self.do("fill_frames")
        print("\nThe year as it happened (manage.py replay_flights):\n", flush=True)
        self.do("replay_flights")
        print("\nWhat landed 30 days ago is put away (manage.py kck refresh archive_trips):\n", flush=True)
        self.do("kck", "refresh", "archive_trips")
        print("\nWhat was counted, beside plain SQL (manage.py check_trips):\n", flush=True)
        self.do("check_trips")
        print("\nThe books of the process (manage.py kck check --balance trips):\n", flush=True)
        self.do("kck", "check", "--balance", "trips")

    def serve(self, port: int, speed: float) -> None:
        """Run a worker and the web server until somebody stops us or one of them fails; and meanwhile the replay, until
        the year is over.
        """
        register = Register(self.folder)
        register.end_leftovers()
        say("Computing what is kept warm ...")
        self.do("kck", "warm")
        port = free_port(port)
        address = f"http://127.0.0.1:{port}/"
        server = ["runserver", "--noreload", "--insecure", "--skip-checks", f"127.0.0.1:{port}"]
        # Two refreshes at once: what takes seconds must not keep what takes half a second waiting.
        worker = ["kck", "worker", "--concurrency", "2"]
        replay = ["replay_flights", "--speed", f"{speed:g}"]
        commands = {"worker": worker, "web server": server, "replay": replay}
        parts: list[Part] = []
        try:
            for name, arguments in commands.items():
                part = Part(
                    name, self.manage(*arguments), self.environment, self.folder, ends=name == "replay"
                )
                parts.append(part)
                register.write(parts)
            self.await_answer(address + "static/flights/flights.css", parts)
            print(
                f"\n    {address}        the example's own pages\n    {address}flow/   its numbers\n",
                flush=True,
            )
            say(f"Ctrl+C stops everything. What the parts say is in {self.folder}/*.log.")
            say(f"To ask by hand: . {self.write_environment()} && {self.by_hand()} kck keys")
            self.watch(parts)
        finally:
            do_not_listen()
            say("")
            for part in reversed(parts):  # nobody asks any more before nobody works any more
                part.stop()
            register.path.unlink(missing_ok=True)
            (self.folder / "environment").unlink(missing_ok=True)

    def write_environment(self) -> Path:
        """Write what another terminal needs to know; the password in it is for our user's eyes."""
        path = self.folder / "environment"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            for name in ("DATABASE_URL", "DATABASE_SCHEMA"):
                file.write(f"export {name}={shlex.quote(self.environment[name])}\n")
        return path

    def by_hand(self) -> str:
        return f"{sys.executable} {os.path.relpath(HERE / 'manage.py')}"

    def await_answer(self, address: str, parts: Sequence[Part]) -> None:
        deadline = time.monotonic() + STARTS_WITHIN
        while True:
            for part in parts:
                part.check()
            try:
                with urllib.request.urlopen(address, timeout=5):
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise DemoFailed(f"The web server did not answer at {address}: {error}") from error
                time.sleep(0.1)

    def watch(self, parts: Sequence[Part]) -> NoReturn:
        unanswered = 0
        while True:
            for part in parts:
                part.check()
            unanswered = 0 if self.database_answers() else unanswered + 1
            if unanswered == 5:
                raise DemoFailed("The database does not answer any more.")
            time.sleep(1)

    def database_answers(self) -> bool:
        place = urlsplit(self.url)
        if not place.hostname or "/" in place.hostname or "%2f" in place.hostname.lower():
            return True  # a socket: its server's end is noticed by the parts
        try:
            with socket.create_connection((place.hostname, place.port or 5432), timeout=5):
                return True
        except OSError:
            return False


def free_port(wanted: int) -> int:
    """Return ``wanted``, or the first port after it that is free."""
    for port in range(wanted, wanted + 20):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port != wanted:
            say(f"Port {wanted} is taken; using {port}.")
        return port
    raise DemoFailed(f"Ports {wanted} to {wanted + 19} are all taken. Choose another: demo.py --port 9000")


def stop_on_signals() -> None:
    def stop(number: int, frame: FrameType | None) -> NoReturn:
        do_not_listen()
        raise Stopped

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def do_not_listen() -> None:
    """Do not be stopped while stopping: what is left to do has a limit of its own, and has to be done."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def database(folder: Path) -> Iterator[str]:
    """Yield the address of the database: DATABASE_URL's, or a server's of our own while the block lasts."""
    if url := os.environ.get("DATABASE_URL"):
        yield url
        return
    sys.path.insert(0, str(REPOSITORY / "tools"))
    import postgres

    say(f"Starting PostgreSQL in {folder / 'postgres'} ...")
    runs = False
    try:
        with postgres.server(folder / "postgres") as running:
            runs = True
            try:
                yield running.url
            finally:
                do_not_listen()
    except postgres.PostgresFailed as error:
        raise DemoFailed(str(error)) from error
    finally:
        if runs:
            say("Stopped PostgreSQL.")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="demo.py", description="Run the flights example.")
    parser.add_argument("--once", action="store_true", help="ask cold and warm, print the times, end")
    parser.add_argument("--year", action="store_true", help="make the time frames of the year, not of a week")
    parser.add_argument("--port", type=int, default=PORT, help=f"of the web server ({PORT})")
    parser.add_argument(
        "--speed", type=float, default=SPEED, help=f"of the replay: seconds of 2013 in a second ({SPEED})"
    )
    parser.add_argument(
        "--folder", type=Path, default=REPOSITORY / ".demo", help="for logs, and data without DATABASE_URL"
    )
    asked = parser.parse_args(arguments)
    stop_on_signals()
    try:
        with ExitStack() as stack:
            asked.folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(only_one(asked.folder))
            demo = Demo(asked.folder, stack.enter_context(database(asked.folder)), year=asked.year)
            demo.prepare()
            if asked.once:
                demo.once()
            else:
                demo.serve(asked.port, asked.speed)
    except DemoFailed as error:
        say(f"\n{error}")
        return 1
    except Stopped:
        say("Everything is stopped.")
        return 130 if asked.once else 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
