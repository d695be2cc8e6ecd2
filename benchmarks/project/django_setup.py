"""Set Django up within a contestant's process."""

from __future__ import annotations

import json
import os
from typing import Any

from benchmarks.contestants import database


def environment(places: dict[str, Any], database_name: str, apps: list[str], **more: str) -> dict[str, str]:
    """Return the variables that ``benchmarks.project.settings`` reads, for this process or for a worker's."""
    return {
        "DJANGO_SETTINGS_MODULE": "benchmarks.project.settings",
        "BENCH_PLACES": json.dumps(places),
        "BENCH_DATABASE": database_name,
        "BENCH_APPS": ",".join(apps),
        **more,
    }


def set_up(
    places: dict[str, Any], database_name: str, apps: list[str], *, keep: bool = False, **more: str
) -> None:
    """Make the database afresh (unless it is to be kept) and call ``django.setup()`` once in this process."""
    if "port" in places.get("postgres", {}) and not keep:
        database.recreate(places["postgres"], database_name)
    os.environ.update(environment(places, database_name, apps, **more))
    import django

    django.setup()


def migrate() -> None:
    """Create all tables, those of apps without migrations included."""
    from django.core.management import call_command

    call_command("migrate", run_syncdb=True, verbosity=0, interactive=False)


def close_connections() -> None:
    """Close this process's connections, as before a fork."""
    from django.db import connections

    connections.close_all()
