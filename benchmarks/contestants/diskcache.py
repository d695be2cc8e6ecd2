"""diskcache: an SQLite file, shared by the processes of one machine."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

from benchmarks.contestants.base import Contestant
from benchmarks.product import FRESH_SECONDS, REFRESH_SECONDS, cold_compute, stale_compute


class DiskCache(Contestant):
    """With its defaults, but for the size limit, so that it never culls here."""

    def prepare(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="diskcache-", dir=self.places["folder"])
        self.cache = self._open()

    def _open(self) -> Any:
        from diskcache import Cache

        return Cache(self.folder, size_limit=2**36)

    def leave(self) -> None:
        self.cache.close()

    def getter(self) -> Callable[[str], Any]:
        return self.cache.get

    def setter(self) -> Callable[[str, Any], Any]:
        return self.cache.set

    def cold_getter(self, log: str) -> Callable[[str], Any]:
        """Read, else take its lock for the key, read again, else compute: its own pieces, put together."""
        from diskcache import Lock

        cache = self.cache

        def get(key: str) -> Any:
            value = cache.get(key)
            if value is None:
                with Lock(cache, key + "/lock"):
                    value = cache.get(key)
                    if value is None:
                        value = cold_compute(log, key)
                        cache.set(key, value)
            return value

        return get

    def stale_getter(self, log: str) -> Callable[[str], Any]:
        from diskcache import memoize_stampede

        @memoize_stampede(self.cache, expire=FRESH_SECONDS + REFRESH_SECONDS)
        def computed(key: str) -> Any:
            return stale_compute(log, key)

        return computed

    def fill(self, rows: int) -> None:
        """Write the rows as the cache itself would, in one transaction of SQLite."""
        have = len(self.cache)
        with self.cache.transact():
            for number in range(rows - have):
                self.cache.set(f"other/{number}", 1)

    def rows_written(self) -> int | None:
        return int(self.cache._con.total_changes)
