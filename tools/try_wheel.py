#!/usr/bin/env python3
"""Build the wheel, install it in an empty environment, and use it there in a new Django project.

    python tools/try_wheel.py [WHEEL]

What is missing from the wheel (a migration, a template, an SQL file, a command) is noticed here and nowhere
else, because everywhere else the package is read from its source folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import postgres

ROOT = Path(__file__).resolve().parent.parent

# Every data file of the source has to be in the wheel; Python files are noticed by being imported.
KINDS = {".sql", ".html", ".txt", ".css", ".js", ".svg", ".json", ".mo", ".po", ".typed"}

PRIMERS = '''
from django.contrib.auth import get_user_model
from kck_flow import Primer


class UserCount(Primer):
    """How many users there are."""

    key_base = "user_count"

    def compute(self, key):
        return get_user_model().objects.count()


class FirstDataProduct(Primer):
    key = "first_data_product"
    parameters = [{"name": "id", "from_str": int}]

    def compute(self, key):
        return self.key_to_param_dict(key)["id"] * 2
'''


class Tried(Exception):
    """What the wheel failed at."""


def main(arguments: list[str]) -> int:
    """Try the given wheel, or one built now; return the exit code."""
    with tempfile.TemporaryDirectory(prefix="kck_flow_wheel_") as temporary:
        folder = Path(temporary)
        try:
            wheel = Path(arguments[0]) if arguments else build(folder)
            look_into(wheel)
            python = environment(folder, wheel)
            with postgres.database() as url:
                use(folder, python, url)
        except Tried as failed:
            print(f"try_wheel.py: {failed}", file=sys.stderr)
            return 1
    print(f"{wheel.name}: installs, migrates and computes in an empty environment.")
    return 0


def build(folder: Path) -> Path:
    """Return a wheel made from the source beside us."""
    run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT])
    (wheel,) = folder.glob("*.whl")
    return wheel


def look_into(wheel: Path) -> None:
    """Compare the wheel's files with the source's."""
    inside = set(zipfile.ZipFile(wheel).namelist())
    for package in ("kck_flow", "primers"):
        paths = [path for path in (ROOT / package).rglob("*") if path.suffix in KINDS | {".py"}]
        missing = {path.relative_to(ROOT).as_posix() for path in paths} - inside
        if missing or not paths:
            raise Tried(f"{wheel.name} lacks {', '.join(sorted(missing)) or package}")
    if strangers := {name.split("/")[0] for name in inside} - {"kck_flow", "primers", _info(inside)}:
        raise Tried(f"{wheel.name} brings more than its packages: {', '.join(sorted(strangers))}")


def _info(inside: set[str]) -> str:
    return next(name.split("/")[0] for name in inside if name.endswith(".dist-info/METADATA"))


def environment(folder: Path, wheel: Path) -> Path:
    """Return the Python of an environment that has the wheel and what it asks for, and nothing else."""
    run([sys.executable, "-m", "venv", folder / "venv"])
    python = folder / "venv" / "bin" / "python"
    run([python, "-m", "pip", "install", "--quiet", wheel])
    return python


def use(folder: Path, python: Path, url: str) -> None:
    """Make a project that uses the wheel; migrate it, check it, ask it for products."""
    project = folder / "project"
    project.mkdir()
    manage: list[str | Path] = [python, "manage.py"]
    run([python, "-m", "django", "startproject", "site_of_ours", "."], project)
    run([*manage, "startapp", "shop"], project)
    (project / "shop" / "primers.py").write_text(PRIMERS)
    parts = urlsplit(url)
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "kck_flow_try_wheel",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
    }
    with (project / "site_of_ours" / "settings.py").open("a") as settings:
        settings.write(f"\nINSTALLED_APPS += ['kck_flow', 'shop']\nDATABASES = {{'default': {database!r}}}\n")
    administrate = (
        "import os, django; django.setup()\n"
        "from django.db import connection\n"
        "with connection._nodb_cursor() as cursor:\n"
        "    cursor.execute('DROP DATABASE IF EXISTS kck_flow_try_wheel')\n"
        "    if {create}: cursor.execute('CREATE DATABASE kck_flow_try_wheel')\n"
    )
    env = {"DJANGO_SETTINGS_MODULE": "site_of_ours.settings"}
    run([python, "-c", administrate.format(create=True)], project, env)
    try:
        run([*manage, "migrate", "--verbosity", "0"], project)
        run([*manage, "makemigrations", "--check", "--dry-run"], project)
        run([*manage, "check", "--fail-level", "WARNING"], project)
        expect("user_count", run([*manage, "kck", "keys", "--primers"], project))
        expect("14", run([*manage, "kck", "get", "first_data_product/7"], project))
        expect("0", run([*manage, "kck", "get", "user_count"], project))
        expect("user_count", run([*manage, "kck", "keys"], project))
        expect("fresh", run([*manage, "kck", "explain", "user_count"], project))
        run([*manage, "kck", "worker", "--once"], project)
        run([*manage, "kck", "check"], project)  # tables, storage options, functions: all that migrate makes
        run(
            [python, "-c", "import primers, pkgutil; assert list(pkgutil.iter_modules(primers.__path__))"],
            project,
        )
    finally:
        run([python, "-c", administrate.format(create=False)], project, env)


def expect(text: str, said: str) -> None:
    """Raise unless `text` is in what a command said."""
    if text not in said:
        raise Tried(f"expected {text!r} in:\n{said}")


def run(command: list[str | Path], folder: Path = ROOT, env: Mapping[str, str] | None = None) -> str:
    """Run a command; return what it printed.

    Raises:
        Tried: It failed; the message has all it said.
    """
    # Neither the source folder nor the settings of whoever calls us may help the wheel along.
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "DJANGO_SETTINGS_MODULE")
    }
    done = subprocess.run(command, cwd=folder, env=clean | dict(env or {}), capture_output=True, text=True)
    if done.returncode:
        words = " ".join(map(str, command))
        raise Tried(f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
