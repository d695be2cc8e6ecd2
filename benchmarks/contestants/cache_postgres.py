"""cache-postgres: bytes in an unlogged table, a pool of its own, an advisory lock against the stampede."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from benchmarks.contestants import database
from benchmarks.contestants.base import Contestant
from benchmarks.product import FRESH_SECONDS, cold_compute, stale_compute


class CachePostgres(Contestant):
    """With its defaults. It keeps bytes; the contestant encodes and decodes them as JSON."""

    def __init__(self, name: str, places: dict[str, Any], through: str = "postgres") -> None:
        super().__init__(name, places)
        self.through = through

    def prepare(self) -> None:
        database.recreate(self.places["postgres"], self.database)
        self.open()

    def open(self) -> None:
        """Open its pool; after a fork each process opens its own."""
        from cache_postgres import PostgresCache, PostgresCacheOptions

        self.cache = PostgresCache(PostgresCacheOptions(dsn=self._dsn(), create_if_not_exists=True))
        self.cache.set("warm", b"1")

    def _dsn(self) -> str:
        place = self.places[self.through]
        return f"postgresql://{place['user']}:{place['password']}@{place['host']}:{place['port']}/{self.database}"

    def leave(self) -> None:
        self.cache.close()

    def getter(self) -> Callable[[str], Any]:
        get, loads = self.cache.get, json.loads
        return lambda key: loads(get(key))

    def many_getter(self) -> Callable[[list[str]], Any]:
        get_many, loads = self.cache.get_many, json.loads
        return lambda keys: {key: loads(value) for key, value in get_many(keys).items()}

    def async_many_getter(self) -> Callable[[list[str]], Any]:
        from cache_postgres import AsyncPostgresCache, PostgresCacheOptions

        cache = AsyncPostgresCache(PostgresCacheOptions(dsn=self._dsn(), create_if_not_exists=True))
        self.loop.run_until_complete(cache.__aenter__())
        loads = json.loads

        async def get_many(keys: list[str]) -> Any:
            return {key: loads(value) for key, value in (await cache.get_many(keys)).items()}

        return get_many

    def setter(self) -> Callable[[str, Any], Any]:
        store, dumps = self.cache.set, json.dumps
        return lambda key, value: store(key, dumps(value).encode())

    def cold_getter(self, log: str) -> Callable[[str], Any]:
        self.open()
        cache = self.cache

        def get(key: str) -> Any:
            return json.loads(cache.get_or_create(key, lambda: json.dumps(cold_compute(log, key)).encode()))

        return get

    def stale_getter(self, log: str) -> Callable[[str], Any]:
        self.open()

        @self.cache.early(
            "stale:{key}", ttl=timedelta(seconds=60), early_ttl=timedelta(seconds=FRESH_SECONDS)
        )
        def computed(key: str) -> Any:
            return stale_compute(log, key)

        return computed

    def fill(self, rows: int) -> None:
        place = self.places["postgres"]
        columns = [
            name
            for (name,) in database.run(
                place,
                self.database,
                "SELECT attname FROM pg_attribute WHERE attrelid = 'cache'::regclass AND attnum > 0",
            )
        ]
        picked = ", ".join(
            {"key": "'other/' || n", columns[0]: "'other/' || n"}.get(c, f'c."{c}"') for c in columns
        )
        database.run(
            place,
            self.database,
            f"""INSERT INTO cache SELECT {picked} FROM (SELECT * FROM cache LIMIT 1) c,
                generate_series(1, {rows} - (SELECT count(*) FROM cache)) n ON CONFLICT DO NOTHING""",
            "VACUUM ANALYZE cache",
            "CHECKPOINT",
        )

    def statements(self) -> int | None:
        return database.statements_run(self.places["postgres"], self.database)

    def rows_written(self) -> int | None:
        return database.rows_written(self.places["postgres"], self.database)
