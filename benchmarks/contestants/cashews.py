"""cashews: asyncio only. ``lock=True`` against a cold stampede, ``early`` to refresh behind the reader's
back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from benchmarks.contestants.base import Contestant, NotOffered
from benchmarks.product import COLD_SECONDS, FRESH_SECONDS, REFRESH_SECONDS, note_line, product


class Redis(Contestant):
    """On Redis."""

    asynchronous = True

    @property
    def number(self) -> int:
        """The number of its Redis database."""
        return 4 + 10 * self.phase

    def prepare(self) -> None:
        from cashews import Cache

        self.cache = Cache()
        self.cache.setup(self._address())

    def _address(self) -> str:
        place = self.places["redis"]
        return f"redis://{place['host']}:{place['port']}/{self.number}"

    def getter(self) -> Callable[[str], Any]:
        return self.cache.get

    def many_getter(self) -> Callable[[list[str]], Any]:
        cache = self.cache

        async def get_many(keys: list[str]) -> Any:
            return await cache.get_many(*keys)

        return get_many

    async_many_getter = many_getter

    def setter(self) -> Callable[[str, Any], Any]:
        return self.cache.set

    def cold_getter(self, log: str) -> Callable[[str], Any]:
        @self.cache(ttl="1h", key="cold:{key}", lock=True)
        async def computed(key: str) -> Any:
            return await _compute(log, key, COLD_SECONDS)

        return computed

    def stale_getter(self, log: str) -> Callable[[str], Any]:
        @self.cache.early(ttl=3600, early_ttl=FRESH_SECONDS, key="stale:{key}")
        async def computed(key: str) -> Any:
            return await _compute(log, key, REFRESH_SECONDS)

        return computed

    def fill(self, rows: int) -> None:
        from benchmarks.contestants.redis_server import populate

        populate(self.places["redis"], self.number, rows)

    def rows_written(self) -> int | None:
        from benchmarks.contestants.redis_server import writes

        return writes(self.places["redis"])


class Memory(Redis):
    """In the memory of one process."""

    def _address(self) -> str:
        return "mem://?size=10000"

    def cold_getter(self, log: str) -> Callable[[str], Any]:
        raise NotOffered("one process only")

    def stale_getter(self, log: str) -> Callable[[str], Any]:
        raise NotOffered("one process only")


async def _compute(log: str, key: str, seconds: float) -> dict[str, Any]:
    start = time.perf_counter_ns()
    await asyncio.sleep(seconds)
    note_line(log, f"{key} {time.perf_counter_ns() - start}")
    return product(1)
