"""django-cacheops: its simple cache for single values, ``cached_as`` with a lock for what is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.contestants.base import Contestant
from benchmarks.product import FRESH_SECONDS, cold_compute, stale_compute
from benchmarks.project import django_setup


class Cacheops(Contestant):
    """On Redis, Django's models as what a value depends on."""

    def prepare(self) -> None:
        django_setup.set_up(self.places, self.database, ["benchmarks.project.apps.BenchConfig", "cacheops"])
        django_setup.migrate()
        from cacheops import cache

        self.cache = cache
        self.leave()

    def leave(self) -> None:
        django_setup.close_connections()

    def getter(self) -> Callable[[str], Any]:
        return self.cache.get

    def setter(self) -> Callable[[str, Any], Any]:
        return self.cache.set

    def cold_getter(self, log: str) -> Callable[[str], Any]:
        return self._cached_as(cold_compute, log, timeout=3600)

    def stale_getter(self, log: str) -> Callable[[str], Any]:
        return self._cached_as(stale_compute, log, timeout=FRESH_SECONDS)

    def _cached_as(self, compute: Callable[[str, str], Any], log: str, timeout: int) -> Callable[[str], Any]:
        from cacheops import cached_as

        from benchmarks.project.models import Order

        @cached_as(Order, timeout=timeout, lock=True)
        def computed(key: str) -> Any:
            return compute(log, key)

        return computed

    def fill(self, rows: int) -> None:
        from benchmarks.contestants.redis_server import populate

        populate(self.places["redis"], 2 + 10 * self.phase, rows)

    def rows_written(self) -> int | None:
        from benchmarks.contestants.redis_server import writes

        return writes(self.places["redis"])
