"""A database of the test's own for the flights example, on the server that the suite uses."""

from __future__ import annotations

import os
import secrets
import sys
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2

from tests.harness.daemons import ROOT, Daemon

EXAMPLE = ROOT / "examples" / "flights"
SCHEMA = "kck_flow_flights"
PATIENCE = 120.0  # seconds


class Database:
    """A database of the test's own, on the server that the suite uses."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        with connected(self.url) as cursor:
            cursor.execute(statement, params)
            return cursor.fetchall() if cursor.description else []

    def tables_elsewhere(self) -> list[tuple[Any, ...]]:
        return self.ask(
            "SELECT table_schema, table_name FROM information_schema.tables "
            "WHERE table_schema NOT IN ('pg_catalog', 'information_schema', %s) ORDER BY 1, 2",
            SCHEMA,
        )


@contextmanager
def connected(url: str) -> Iterator[Any]:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


@contextmanager
def empty_database() -> Iterator[Database]:
    server = os.environ["DATABASE_URL"]
    name = f"kck_demo_{secrets.token_hex(4)}"
    with connected(server) as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    try:
        yield Database(urllib.parse.urlsplit(server)._replace(path=f"/{name}").geturl())
    finally:
        with connected(server) as cursor:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


class Example:
    """The example's manage.py, on a database of its own."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.env = {
            "DATABASE_URL": database.url,
            "DATABASE_SCHEMA": SCHEMA,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PYTHONPATH": str(ROOT),
        }

    def start(self, *arguments: str) -> Daemon:
        return Daemon([sys.executable, EXAMPLE / "manage.py", *arguments], env=self.env, cwd=EXAMPLE)

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run a command to its end; returns what it said."""
        daemon = self.start(*arguments)
        try:
            assert daemon.wait(limit=PATIENCE) == code, daemon.output
            return daemon.output
        finally:
            daemon.close()

    def load(self, start: str, end: str) -> None:
        self.run("own_schema")
        self.run("migrate", "--noinput", "-v0")
        self.run("load_flights", "--from", start, "--to", end)

    def one(self, what: str) -> Any:
        [[found]] = self.database.ask(f"SELECT {what}".replace("flights_", f"{SCHEMA}.flights_"))
        return found

    def moves(self) -> int:
        """Return how many moves the rows have made: each trip one, and each that left the board another, and so on."""
        weights = (
            "CASE state WHEN 'scheduled' THEN 1 WHEN 'departed' THEN 2 WHEN 'cancelled' THEN 2 ELSE 3 END"
        )
        return int(self.one(f"coalesce(sum({weights}), 0) FROM flights_trip"))
