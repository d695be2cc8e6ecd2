"""The processes of a fleet, in the test project with the probe in it."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings as project
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import override_settings

from tests.harness.daemons import Daemon
from tests.harness.processes import Crew


class Members:
    """The processes of one test's fleet.

    Args:
        apps: Apps that they have besides the test project's.
        env: Further environment variables for each.
        flow: Settings of KCK_FLOW.
    """

    def __init__(self, apps: Sequence[str] = (), env: dict[str, str] | None = None, **flow: Any) -> None:
        self.env = {
            **Crew().env,
            "DJANGO_SETTINGS_MODULE": "tests.fleets.settings",
            "KCK_TEST_APPS": ",".join(apps),
            **(env or {}),
        }
        self.flow = {"LEASE_SECONDS": 2.0, **flow}
        self.daemons: list[Daemon] = []

    def start(self, *command: str, ready: str, **flow: Any) -> Daemon:
        """Start a process, Python with these arguments; return once it has said that it is ready."""
        env = {**self.env, "KCK_TEST_FLOW": json.dumps({**self.flow, **flow})}
        daemon = Daemon([sys.executable, *command], env=env)
        self.daemons.append(daemon)
        daemon.wait_for(ready)
        return daemon

    def run(self, *command: str) -> None:
        """Run `manage.py` with these arguments to its end."""
        daemon = Daemon([sys.executable, "manage.py", *command], env={**self.env, "KCK_TEST_FLOW": "{}"})
        assert daemon.wait() == 0, daemon.output

    def kill(self) -> None:
        """Kill all of them, and what they started."""
        while self.daemons:
            self.daemons.pop().close()


@contextlib.contextmanager
def installed(app: str, label: str, tables: str, **settings: Any) -> Iterator[None]:
    """Have another app in this process and its tables in the database, for the length of a block.

    Args:
        app: The app, as in INSTALLED_APPS.
        label: Its label; its migrations need not be reversible.
        tables: How the names of its tables, functions and types begin.
        settings: What else of the settings is different.
    """
    with override_settings(INSTALLED_APPS=[*project.INSTALLED_APPS, app], **settings):
        call_command("migrate", label, verbosity=0)
        try:
            yield
        finally:
            MigrationRecorder(connection).migration_qs.filter(app=label).delete()
            with connection.cursor() as cursor:
                cursor.execute(GONE, {"begin": tables})


GONE = """
DO $$
DECLARE one text;
BEGIN
    FOREACH one IN ARRAY ARRAY(
        SELECT 'TABLE IF EXISTS ' || quote_ident(tablename) FROM pg_tables
        WHERE schemaname = 'public' AND starts_with(tablename, %(begin)s)
        UNION ALL
        SELECT 'FUNCTION IF EXISTS ' || oid::regprocedure::text FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND starts_with(proname, %(begin)s)
        UNION ALL
        SELECT 'TYPE IF EXISTS ' || quote_ident(typname) FROM pg_type
        WHERE typnamespace = 'public'::regnamespace AND starts_with(typname, %(begin)s) AND (typtype = 'e'
            OR EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = typrelid AND c.relkind = 'c'))
    ) LOOP
        EXECUTE 'DROP ' || one || ' CASCADE';
    END LOOP;
END $$
"""
