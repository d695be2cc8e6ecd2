"""What one turn measures: wall clock, CPU of the client and CPU of the servers.

A *turn* is what one contestant does within one round. Times come from the monotonic clock, in nanoseconds.
The client's CPU is that of the whole process, with all its threads; the servers' CPU is the sum over their
processes, read from /proc, so that work which a cache pushes onto its server is counted too.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass
class Turn:
    """One contestant's turn: times in microseconds, CPU in microseconds for each operation."""

    operations: int
    median_us: float
    p99_us: float
    p999_us: float
    slowest_us: float
    client_cpu_us: float = 0.0
    server_cpu_us: float = 0.0
    counts: dict[str, float] = field(default_factory=dict)

    @property
    def cpu_us(self) -> float:
        """CPU of client and servers together, in microseconds for each operation."""
        return self.client_cpu_us + self.server_cpu_us

    def as_dict(self) -> dict[str, Any]:
        """Return the turn as JSON-ready data, for the conductor."""
        return asdict(self)


def quantile(ordered: list[float], share: float) -> float:
    """Return the smallest value that at least ``share`` of the sorted values do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def turn_of(durations_ns: Iterable[float], *, client_cpu_ns: float = 0, server_cpu_ns: float = 0) -> Turn:
    """Sum a list of durations, in nanoseconds, up into a turn."""
    ordered = sorted(durations_ns)
    if not ordered:
        raise ValueError("Nothing was measured: not one operation ended within its time.")
    return Turn(
        operations=len(ordered),
        median_us=quantile(ordered, 0.5) / 1e3,
        p99_us=quantile(ordered, 0.99) / 1e3,
        p999_us=quantile(ordered, 0.999) / 1e3,
        slowest_us=ordered[-1] / 1e3,
        client_cpu_us=client_cpu_ns / len(ordered) / 1e3,
        server_cpu_us=server_cpu_ns / len(ordered) / 1e3,
    )


def take_turn(
    call: Callable[..., Any],
    arguments: Iterable[tuple[Any, ...]],
    *,
    server_cpu_ns: Callable[[], int] = int,
    seconds: float = 5.0,
) -> Turn:
    """Call once for each of ``arguments``, timing every call, for at most ``seconds``."""
    clock = time.perf_counter_ns
    durations: list[float] = []
    keep = durations.append
    servers_before = server_cpu_ns()
    client_before = time.process_time_ns()
    until = clock() + int(seconds * 1e9)
    for each in arguments:
        start = clock()
        call(*each)
        end = clock()
        keep(end - start)
        if end > until:
            break
    client = time.process_time_ns() - client_before
    return turn_of(durations, client_cpu_ns=client, server_cpu_ns=server_cpu_ns() - servers_before)


async def take_turn_async(
    call: Callable[..., Awaitable[Any]],
    arguments: Iterable[tuple[Any, ...]],
    *,
    server_cpu_ns: Callable[[], int] = int,
    seconds: float = 5.0,
) -> Turn:
    """The same as ``take_turn`` for a coroutine function: one call after the other, on the running loop."""
    clock = time.perf_counter_ns
    durations: list[float] = []
    keep = durations.append
    servers_before = server_cpu_ns()
    client_before = time.process_time_ns()
    until = clock() + int(seconds * 1e9)
    for each in arguments:
        start = clock()
        await call(*each)
        end = clock()
        keep(end - start)
        if end > until:
            break
    client = time.process_time_ns() - client_before
    return turn_of(durations, client_cpu_ns=client, server_cpu_ns=server_cpu_ns() - servers_before)


# ---------------------------------------------------------------- CPU of other processes


def tree_cpu_ns(*roots: int) -> int:
    """Return the CPU time of processes and of all that they started, the ended ones included.

    A PostgreSQL server is such a tree, with a child for each connection; so is a worker that forks for each
    job.
    """
    return sum(_own_ns(pid) + _ended_children_ns(pid) for pid in with_descendants(*roots))


def _own_ns(pid: int) -> int:
    """CPU of a process with all its threads: the scheduler's own sum, exact to the nanosecond, or else
    ticks."""
    total = 0
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                total += int(file.read().split()[0])
    except (FileNotFoundError, ProcessLookupError):
        total = 0
    return total or _ticks_ns(pid, 11, 12)


def _ended_children_ns(pid: int) -> int:
    return _ticks_ns(pid, 13, 14)


def _ticks_ns(pid: int, *wanted: int) -> int:
    """Add up fields of /proc/PID/stat that count ticks (11 utime, 12 stime, 13 cutime, 14 cstime)."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(fields[each]) for each in wanted) * 1_000_000_000 // TICKS_PER_SECOND


def with_descendants(*roots: int) -> list[int]:
    """Return the given processes and all that they started, alive now."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(parent, []).append(int(name))
    found: list[int] = []
    waiting = [root for root in roots if os.path.exists(f"/proc/{root}")]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting.extend(children.get(pid, ()))
    return found


def cost_of_the_clock() -> float:
    """Return what timing one call costs by itself, in microseconds: the median of a timed call of nothing."""
    return take_turn(lambda: None, (() for _ in range(20_000))).median_us
