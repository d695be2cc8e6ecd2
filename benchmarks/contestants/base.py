"""What a contestant can be asked for. Each method returns the cache's own call, so that nothing stands
between."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

from benchmarks.measure import Turn, take_turn, take_turn_async, tree_cpu_ns


class NotOffered(Exception):
    """The cache has no such operation, or none that could be measured here; the text says why."""


class Contestant:
    """One cache. ``asynchronous`` ones return coroutine functions wherever a call is asked for."""

    asynchronous = False
    servers: tuple[str, ...] = ()

    def __init__(self, name: str, places: dict[str, Any]) -> None:
        self.name = name
        self.places = places

    @property
    def database(self) -> str:
        """The contestant's own database, so that nobody's rows are in anybody's way."""
        return f"bench_{self.name.replace('-', '_')}_{self.phase}"

    @property
    def phase(self) -> int:
        """Which phase of the scenario it plays in; each has stores of its own."""
        return int(self.places.get("phase", 0))

    def key(self, number: int) -> str:
        """Return the key of the product with that number."""
        return f"product/{number}"

    def prepare(self) -> None:
        """Make what must exist before the first call: a database, tables, a connection. Leaves the cache
        empty."""

    def leave(self) -> None:
        """Close what a process must not share with its children (called just before a fork)."""

    def server_cpu_ns(self) -> int:
        """Return the CPU time that the servers which work for this contestant have used so far."""
        roots = [self.places[server].get("pid") for server in self.servers if server in ("postgres", "redis")]
        if "pgbouncer" in self.servers:
            roots.append(self.places["pgbouncer"].get("bouncer_pid"))
        return tree_cpu_ns(*[root for root in roots if root])

    def wait(self, result: Any) -> Any:
        """Return what a call gave; what an asynchronous contestant's call gave is awaited on its own loop."""
        return self.loop.run_until_complete(result) if inspect.isawaitable(result) else result

    @cached_property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of an asynchronous contestant, the same for all its turns."""
        return asyncio.new_event_loop()

    def turn(
        self, call: Callable[..., Any], arguments: Iterable[tuple[Any, ...]], seconds: float = 5.0
    ) -> Turn:
        """Time one call after the other, awaiting each if the contestant is asynchronous."""
        if self.asynchronous:
            return self.loop.run_until_complete(
                take_turn_async(call, arguments, server_cpu_ns=self.server_cpu_ns, seconds=seconds)
            )
        return take_turn(call, arguments, server_cpu_ns=self.server_cpu_ns, seconds=seconds)

    def getter(self) -> Callable[[str], Any]:
        """Return the call that reads one product."""
        raise NotOffered("cannot read one")

    def many_getter(self) -> Callable[[list[str]], Any]:
        """Return the call that reads many products at once."""
        raise NotOffered("no such call")

    def async_many_getter(self) -> Callable[[list[str]], Any]:
        """Return the coroutine function that reads many products at once."""
        raise NotOffered("no such call")

    def setter(self) -> Callable[[str, Any], Any]:
        """Return the call that stores one product."""
        raise NotOffered("no such call")

    def cold_getter(self, log: str) -> Callable[[str], Any]:
        """Return the call that reads a product, or computes it with ``cold_compute``, which notes a line in
        the log, and stores it."""
        raise NotOffered("no such call")

    def stale_getter(self, log: str) -> Callable[[str], Any]:
        """The same, for a product that wants a refresh ``FRESH_SECONDS`` after it was stored."""
        raise NotOffered("serves no old value while a new one is computed")

    def fill(self, rows: int) -> None:
        """Bring the store to that many rows, of other products, as a bulk load of the server's own."""
        raise NotOffered("no bulk load")

    def statements(self) -> int | None:
        """Return how many SQL statements the contestant's database has run so far; None if there is none."""
        return None

    def rows_written(self) -> int | None:
        """Return how many rows (or keys) have been written for the contestant so far; None if unknown."""
        return None
