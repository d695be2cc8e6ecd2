"""The tutorials, followed from an empty folder to the last command, as they stand on the page."""

from __future__ import annotations

import contextlib
import doctest
import os
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

import kck_flow
from tests.docs.snippets import ROOT, SESSION, Block, blocks, commands
from tests.harness.daemons import Daemon, free_port
from tests.harness.wait import until

TUTORIALS = sorted((ROOT / "docs").glob("tutorial*.md"))
# What the machine of the tests has done already, or does its own way.
DONE_BEFORE = ("python -m venv", ". .venv", "pip install", "createdb")
SLOW = 60.0  # seconds; an import of Django and a migration on a busy machine


class Follower:
    """Somebody who does what the page says, in a folder and on a database of their own."""

    def __init__(self, folder: Path, database: str) -> None:
        given = connection.settings_dict
        self.folder, self.database = folder, database
        self.port = free_port()
        self.daemons: dict[str, Daemon] = {}
        self.env = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "bookshop.settings",
            "PYTHONPATH": str(Path(kck_flow.__file__).parents[1]),
            "PYTHONUNBUFFERED": "1",
            "PGHOST": str(given["HOST"]),
            "PGPORT": str(given["PORT"]),
            "PGUSER": str(given["USER"]),
            "PGPASSWORD": str(given["PASSWORD"]),
        }

    def follow(self, block: Block) -> None:
        """Write the file that a block names, or run its commands."""
        if block.file:
            self._write(block)
            return
        assert block.language == "console", f"{block.where}: what is to be done with it?"
        for command, shown in commands(block.text):
            if not command.startswith(DONE_BEFORE):
                self._run(block, command, shown)

    def _write(self, block: Block) -> None:
        path = self.folder / block.file
        text = block.text.replace('"NAME": "bookshop"', f'"NAME": "{self.database}"') + "\n"
        if path.name == "settings.py":
            text = path.read_text() + "\n" + text
        path.write_text(text)
        # Written within the second of an earlier version, it would be taken for it.
        for compiled in self.folder.rglob("*.pyc"):
            compiled.unlink()

    def _run(self, block: Block, command: str, shown: str) -> None:
        kind, _, told = block.directive.partition(": ")
        if kind == "background":
            self._start(command, told)
            return
        wanted = int(block.directive.removeprefix("exit ")) if block.directive.startswith("exit ") else 0
        if kind == "until":
            until(lambda: told in self._said(command)[1], f"{told!r} from {command!r}", limit=SLOW)
        code, said = self._said(command)
        assert code == wanted, f"{block.where}: {command!r} ended with {code}:\n{said}"
        if shown and not doctest.OutputChecker().check_output(shown, said, SESSION):
            raise AssertionError(
                f"{block.where}: {command!r} printed\n{said}\nand the page shows\n{shown}\n"
                + "\n".join(daemon.output for daemon in self.daemons.values())
            )

    def _said(self, command: str) -> tuple[int, str]:
        words = shlex.split(command)
        if words[0] == "curl":
            with urllib.request.urlopen(words[1].replace(":8000", f":{self.port}"), timeout=SLOW) as answer:
                return 0, answer.read().decode() + "\n"
        done = subprocess.run(
            self._python(words),
            cwd=self.folder,
            env=self.env,
            timeout=SLOW,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return done.returncode, done.stdout

    def _start(self, command: str, ready: str) -> None:
        running = self.daemons.pop(command, None)
        if running is not None:
            running.send(signal.SIGINT)  # Ctrl+C, as the page says
            running.wait(limit=SLOW)
        words = self._python(shlex.split(command))
        if "runserver" in words:
            words = [str(self.port) if word == "8000" else word for word in words] + ["--noreload"]
        self.daemons[command] = daemon = Daemon(words, env=self.env, cwd=self.folder)
        daemon.wait_for(ready, limit=SLOW)

    def _python(self, words: list[str]) -> list[str]:
        if words[0] == "django-admin":
            return [sys.executable, "-m", "django", *words[1:], "--settings", "django.conf.global_settings"]
        assert words[0] == "python", f"cannot run {words}"
        return [sys.executable, *words[1:]]

    def close(self) -> None:
        for daemon in self.daemons.values():
            daemon.close()


@pytest.fixture
def follower(transactional_db: None, tmp_path: Path) -> Iterator[Follower]:
    name = f"kck_tutorial_{os.getpid()}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    with contextlib.ExitStack() as stack:
        stack.callback(_drop, name)
        made = Follower(tmp_path, name)
        stack.callback(made.close)
        yield made


def _drop(name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.mark.slow
@pytest.mark.once("newest")
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_the_tutorial_does_what_it_says(follower: Follower, page: Path) -> None:
    for block in blocks(page):
        follower.follow(block)
