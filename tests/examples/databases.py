"""A database of the test's own for the flights example, on the server that the suite uses."""

from __future__ import annotations

import os
import secrets
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2

from tests.harness.daemons import ROOT

EXAMPLE = ROOT / "examples" / "flights"
SCHEMA = "kck_flow_flights"


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
