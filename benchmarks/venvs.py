"""A virtual environment for each group of contestants, so that no one's dependencies change another's driver.

They are kept in ``.bench/venvs`` beside the project, which git ignores, and made again only when their list
of requirements changes. The newest releases are taken, and the tables name the versions that were measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".bench"

DJANGO = "Django>=5.2,<5.3"
OURS = [DJANGO, "python-dateutil>=2.9", "cronsim"]

REQUIREMENTS: dict[str, list[str]] = {
    "psycopg2": [*OURS, "psycopg2-binary", "redis"],
    "psycopg3": [*OURS, "psycopg[binary]"],
    "redis-caches": [
        DJANGO,
        "psycopg2-binary",
        "redis",
        "dogpile.cache",
        "django-cacheops",
        "cashews[redis]",
    ],
    "diskcache": ["diskcache"],
    "cache-postgres": ["cache-postgres", "psycopg[binary]"],
    # It pins django-picklefield 2.0, which imports what Django 4 removed.
    "django-kck": ["Django>=3.2,<4", "django-kck==0.0.56"],
    "procrastinate": ["procrastinate", "psycopg[binary]"],
    "django-tasks-db": [DJANGO, "django-tasks-db[compat]", "psycopg2-binary"],
    "celery": ["celery[redis]"],
    "rq": ["rq"],
}


def python_of(name: str) -> Path:
    """Return the interpreter of an environment, made now if it is not there.

    Raises:
        NotInstalled: an installation failed; the text says why.
    """
    folder = CACHE / "venvs" / f"{name}-{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    marker = folder / "requirements.json"
    wanted = json.dumps(REQUIREMENTS[name])
    if marker.exists() and marker.read_text() == wanted:
        return python
    ignore_cache_in_git()
    venv.create(folder, with_pip=True, clear=True)
    command = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        *REQUIREMENTS[name],
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise NotInstalled((errors or done.stderr.splitlines() or ["pip failed"])[-1])
    marker.write_text(wanted)
    return python


def versions_of(name: str) -> dict[str, str]:
    """Return what is installed in an environment: package -> version."""
    command = [str(python_of(name)), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {each["name"].lower(): each["version"] for each in json.loads(done.stdout)}


def ignore_cache_in_git() -> None:
    """Make the cache folder, and have it ignore itself."""
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")


class NotInstalled(Exception):
    """A contestant that cannot be installed here."""
