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
        """Copy one row under other keys, in SQLite itself: two million calls of ``set`` take minutes."""
        instead = {"rowid": None, "key": "'other/' || n", "value": "1", "size": "0", "filename": "NULL"}
        connection = self.cache._con
        names = [row[1] for row in connection.execute("PRAGMA table_info(Cache)") if row[1] != "rowid"]
        picked = ", ".join(instead.get(name) or f'c."{name}"' for name in names)
        columns = ", ".join(f'"{name}"' for name in names)
        connection.execute(
            f"""INSERT INTO Cache ({columns})
                WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)
                SELECT {picked} FROM numbers, (SELECT * FROM Cache LIMIT 1) c""",
            (rows - len(self.cache),),
        )

    def rows_written(self) -> int | None:
        return int(self.cache._con.total_changes)
