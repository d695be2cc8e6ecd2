"""Django's own caches. They protect nobody from a stampede: ``get_or_set`` is what they offer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.contestants import database
from benchmarks.contestants.base import Contestant, NotOffered
from benchmarks.product import FRESH_SECONDS, cold_compute, stale_compute
from benchmarks.project import django_setup


class DjangoCache(Contestant):
    """A cache out of ``CACHES``."""

    alias = ""

    def prepare(self) -> None:
        django_setup.set_up(self.places, self.database, [])
        from django.core.cache import caches

        self.cache = caches[self.alias]
        self.cache.clear()

    def leave(self) -> None:
        django_setup.close_connections()

    def getter(self) -> Callable[[str], Any]:
        return self.cache.get

    def many_getter(self) -> Callable[[list[str]], Any]:
        return self.cache.get_many

    def async_many_getter(self) -> Callable[[list[str]], Any]:
        return self.cache.aget_many

    def setter(self) -> Callable[[str, Any], Any]:
        return self.cache.set

    def cold_getter(self, log: str) -> Callable[[str], Any]:
        cache = self._cache
        return lambda key: cache().get_or_set(key, lambda: cold_compute(log, key))

    def stale_getter(self, log: str) -> Callable[[str], Any]:
        cache = self._cache
        return lambda key: cache().get_or_set(key, lambda: stale_compute(log, key), FRESH_SECONDS)

    def _cache(self) -> Any:
        """Django's caches belong to a thread: each caller asks for its own."""
        from django.core.cache import caches

        return caches[self.alias]


class DatabaseCache(DjangoCache):
    """Rows of pickled values in a table."""

    alias = "db"

    def prepare(self) -> None:
        django_setup.set_up(self.places, self.database, [])
        from django.core.cache import caches
        from django.core.management import call_command

        call_command("createcachetable", verbosity=0)
        self.cache = caches[self.alias]

    def fill(self, rows: int) -> None:
        database.run(
            self.places["postgres"],
            self.database,
            f"""INSERT INTO bench_cache (cache_key, value, expires)
                SELECT ':1:other/' || n, 'gAVLAS4=', '9999-12-31 23:59:59'
                FROM generate_series(1, {rows} - (SELECT count(*) FROM bench_cache)) n
                ON CONFLICT DO NOTHING""",
            "VACUUM ANALYZE bench_cache",
            "CHECKPOINT",
        )

    def statements(self) -> int | None:
        return database.statements_run(self.places["postgres"], self.database)

    def rows_written(self) -> int | None:
        return database.rows_written(self.places["postgres"], self.database)


class RedisCache(DjangoCache):
    """Pickled values in Redis."""

    alias = "redis"

    def fill(self, rows: int) -> None:
        from benchmarks.contestants.redis_server import populate

        populate(self.places["redis"], 1 + 10 * self.phase, rows)

    def rows_written(self) -> int | None:
        from benchmarks.contestants.redis_server import writes

        return writes(self.places["redis"])


class LocMemCache(DjangoCache):
    """Pickled values in the memory of one process."""

    alias = "locmem"

    def cold_getter(self, log: str) -> Callable[[str], Any]:
        raise NotOffered("one process only")

    def stale_getter(self, log: str) -> Callable[[str], Any]:
        raise NotOffered("one process only")

    def rows_written(self) -> int | None:
        return 0
