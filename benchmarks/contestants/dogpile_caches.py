"""dogpile.cache: on Redis with its distributed lock, and its ``memory_pickle`` backend."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from benchmarks.contestants.base import Contestant, NotOffered
from benchmarks.product import FRESH_SECONDS, cold_compute, stale_compute


class Redis(Contestant):
    """On Redis, configured as its manual advises for several processes: a distributed lock."""

    @property
    def number(self) -> int:
        """The number of its Redis database."""
        return 3 + 10 * self.phase

    def prepare(self) -> None:
        from dogpile.cache import make_region

        place = self.places["redis"]
        arguments = {"host": place["host"], "port": place["port"], "db": self.number}
        arguments |= {"distributed_lock": True, "thread_local_lock": False, "lock_timeout": 30}
        self.region = make_region(async_creation_runner=_in_a_thread)
        self.region.configure("dogpile.cache.redis", arguments=arguments)

    def getter(self) -> Callable[[str], Any]:
        return self.region.get

    def many_getter(self) -> Callable[[list[str]], Any]:
        return self.region.get_multi

    def setter(self) -> Callable[[str, Any], Any]:
        return self.region.set

    def cold_getter(self, log: str) -> Callable[[str], Any]:
        region = self.region
        return lambda key: region.get_or_create(key, lambda: cold_compute(log, key))

    def stale_getter(self, log: str) -> Callable[[str], Any]:
        region = self.region
        return lambda key: region.get_or_create(
            key, lambda: stale_compute(log, key), expiration_time=FRESH_SECONDS
        )

    def fill(self, rows: int) -> None:
        from benchmarks.contestants.redis_server import populate

        populate(self.places["redis"], self.number, rows)

    def rows_written(self) -> int | None:
        from benchmarks.contestants.redis_server import writes

        return writes(self.places["redis"])


def _in_a_thread(region: Any, key: str, creator: Callable[[], Any], mutex: Any) -> None:
    def refresh() -> None:
        try:
            region.set(key, creator())
        finally:
            mutex.release()

    threading.Thread(target=refresh, daemon=True).start()


class Memory(Contestant):
    """In memory, pickled, so that each caller has a copy of its own."""

    def prepare(self) -> None:
        from dogpile.cache import make_region

        self.region = make_region().configure("dogpile.cache.memory_pickle")

    def getter(self) -> Callable[[str], Any]:
        return self.region.get

    def setter(self) -> Callable[[str, Any], Any]:
        return self.region.set

    def cold_getter(self, log: str) -> Callable[[str], Any]:
        raise NotOffered("one process only")
