"""The floors: what a read costs when nobody promises anything."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from typing import Any

from benchmarks.contestants import database
from benchmarks.contestants.base import Contestant
from benchmarks.product import product

TABLE = """CREATE TABLE product (digest uuid PRIMARY KEY, value jsonb NOT NULL)"""
ONE = "SELECT value FROM product WHERE digest = %s"
MANY = "SELECT digest, value FROM product WHERE digest = ANY(%s::uuid[])"
STORE = "INSERT INTO product VALUES (%s, %s) ON CONFLICT (digest) DO UPDATE SET value = excluded.value"


class Bare(Contestant):
    """A bare driver: one SELECT by primary key in autocommit, the driver decodes the JSON."""

    def key(self, number: int) -> str:
        return f"00000000-0000-4000-8000-{number:012d}"

    def prepare(self) -> None:
        place = self.places["postgres"]
        database.recreate(place, self.database)
        database.run(place, self.database, TABLE)
        self.cursor = database.connect(place, self.database).cursor()

    def getter(self) -> Callable[[str], Any]:
        execute, fetch = self.cursor.execute, self.cursor.fetchone

        def get(key: str) -> Any:
            execute(ONE, (key,))
            return fetch()[0]

        return get

    def many_getter(self) -> Callable[[list[str]], Any]:
        execute, fetch = self.cursor.execute, self.cursor.fetchall

        def get_many(keys: list[str]) -> Any:
            execute(MANY, (keys,))
            return dict(fetch())

        return get_many

    def setter(self) -> Callable[[str, Any], Any]:
        execute = self.cursor.execute

        def store(key: str, value: Any) -> None:
            execute(STORE, (key, json.dumps(value)))

        return store

    def fill(self, rows: int) -> None:
        database.run(
            self.places["postgres"],
            self.database,
            f"""INSERT INTO product SELECT md5(n::text)::uuid, jsonb_build_object('id', n)
                FROM generate_series(1, {rows} - (SELECT count(*) FROM product)) n ON CONFLICT DO NOTHING""",
            "VACUUM ANALYZE product",
            "CHECKPOINT",
        )

    def statements(self) -> int | None:
        return database.statements_run(self.places["postgres"], self.database)

    def rows_written(self) -> int | None:
        return database.rows_written(self.places["postgres"], self.database)


class Psycopg2(Bare):
    """psycopg2."""


class Psycopg3(Bare):
    """psycopg 3 as Django sets it up: no prepared statements, for a pooler's sake."""


class Dict(Contestant):
    """A dict lookup: every caller gets the same object, and may spoil it for all."""

    def prepare(self) -> None:
        self.held = {self.key(n): product(n) for n in range(1000)}

    def getter(self) -> Callable[[str], Any]:
        return self.held.__getitem__

    def setter(self) -> Callable[[str, Any], Any]:
        return self.held.__setitem__


class Bytes(Contestant):
    """A dict of bytes, decoded at each read: the least that a copy of one's own costs."""

    def __init__(self, name: str, places: dict[str, Any], codec: str) -> None:
        super().__init__(name, places)
        self.codec = importlib.import_module(codec)

    def prepare(self) -> None:
        self.held: dict[str, Any] = {}

    def getter(self) -> Callable[[str], Any]:
        held, loads = self.held, self.codec.loads
        return lambda key: loads(held[key])

    def setter(self) -> Callable[[str, Any], Any]:
        held, dumps = self.held, self.codec.dumps

        def store(key: str, value: Any) -> None:
            held[key] = dumps(value)

        return store
