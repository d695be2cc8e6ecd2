"""Many callers at once: processes with threads (or tasks) in them, started together at a barrier.

Children are forked before the contestant has any connection, so that each opens its own, as web processes do.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.contestants.base import Contestant, NotOffered

FORK = multiprocessing.get_context("fork")
PATIENCE_SECONDS = 120.0
FAILED = -1


def arrive_together(
    player: Contestant,
    make_call: Callable[[], Callable[[str], Any]],
    keys: list[str],
    *,
    warm: str,
    processes: int,
    callers: int,
) -> list[list[int]]:
    """Let ``processes × callers`` callers ask for one cold key at once, key after key.

    Returns:
        For each key, how long each caller waited, in ns; ``FAILED`` for a caller that got an error.
    """
    barrier = FORK.Barrier(processes * (1 if player.asynchronous else callers))

    def process() -> list[list[int]]:
        call = make_call()
        waited: list[list[int]] = [[FAILED] * callers for _ in keys]
        if player.asynchronous:
            player.loop.run_until_complete(_tasks(call, waited))
        else:
            threads = [threading.Thread(target=caller, args=(call, waited, n)) for n in range(callers)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return waited

    def caller(call: Callable[[str], Any], waited: list[list[int]], number: int) -> None:
        with contextlib.suppress(Exception):
            call(warm)
        for trial, key in enumerate(keys):
            barrier.wait(PATIENCE_SECONDS)
            start = time.perf_counter_ns()
            try:
                call(key)
                waited[trial][number] = time.perf_counter_ns() - start
            except Exception:
                traceback.print_exc()

    async def _tasks(call: Callable[[str], Any], waited: list[list[int]]) -> None:
        async def one(key: str, trial: int, number: int) -> None:
            start = time.perf_counter_ns()
            await call(key)
            waited[trial][number] = time.perf_counter_ns() - start

        await asyncio.gather(*(call(warm) for _ in range(callers)))
        for trial, key in enumerate(keys):
            barrier.wait(PATIENCE_SECONDS)
            await asyncio.gather(*(one(key, trial, n) for n in range(callers)), return_exceptions=True)

    found = gather([process] * processes)
    return [[ns for each in found for ns in each[trial]] for trial in range(len(keys))]


def keep_reading(
    player: Contestant,
    make_call: Callable[[], Callable[[str], Any]],
    key: str,
    *,
    seconds: float,
    pause: float,
    processes: int,
    callers: int,
) -> list[int]:
    """Let callers read one key again and again for ``seconds``; return how long each read took, in ns."""
    barrier = FORK.Barrier(processes)

    def process() -> list[int]:
        call = make_call()
        took: list[int] = []
        if player.asynchronous:
            player.loop.run_until_complete(_tasks(call, took))
        else:
            call(key)
            barrier.wait(PATIENCE_SECONDS)
            threads = [threading.Thread(target=reader, args=(call, took)) for _ in range(callers)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return took

    def reader(call: Callable[[str], Any], took: list[int]) -> None:
        call(key)
        until = time.perf_counter() + seconds
        while (now := time.perf_counter_ns()) / 1e9 < until:
            try:
                call(key)
                took.append(time.perf_counter_ns() - now)
            except Exception:
                traceback.print_exc()
                took.append(FAILED)
            time.sleep(pause)

    async def _tasks(call: Callable[[str], Any], took: list[int]) -> None:
        async def one() -> None:
            until = time.perf_counter() + seconds
            while (now := time.perf_counter_ns()) / 1e9 < until:
                await call(key)
                took.append(time.perf_counter_ns() - now)
                await asyncio.sleep(pause)

        await call(key)
        barrier.wait(PATIENCE_SECONDS)
        await asyncio.gather(*(one() for _ in range(callers)))

    return [ns for each in gather([process] * processes) for ns in each]


def gather(works: list[Callable[[], Any]], patience: float = PATIENCE_SECONDS) -> list[Any]:
    """Fork a child for each work; return what each returned, at most ``patience`` seconds later.

    Raises:
        NotOffered: the cache cannot do this.
        RuntimeError: a child failed or went silent. Children that still run are ended.
    """
    with children(works) as pipes:
        results = []
        for pipe in pipes:
            if not pipe.poll(patience):
                raise RuntimeError(f"A caller's process said nothing for {patience:.0f} s.")
            ok, result = pipe.recv()
            if not ok:
                raise result
            results.append(result)
        return results


@contextlib.contextmanager
def children(works: list[Callable[[], Any]]) -> Iterator[list[Any]]:
    """Fork a child for each work; yield a pipe for each, which gives (whether it went well, what was returned)."""
    pipes, children = [], []
    for work in works:
        here, there = FORK.Pipe(duplex=False)
        child = FORK.Process(target=_child, args=(work, there))
        child.start()
        there.close()
        pipes.append(here)
        children.append(child)
    try:
        yield pipes
    finally:
        for child in children:
            child.join(5)
            if child.is_alive():
                child.kill()
                child.join()
        for pipe in pipes:
            pipe.close()


def _child(work: Callable[[], Any], pipe: Any) -> None:
    try:
        answer = (True, work())
    except NotOffered as reason:
        answer = (False, reason)
    except BaseException as error:
        traceback.print_exc()
        answer = (False, RuntimeError(f"{type(error).__name__}: {error}"[:300]))
    with contextlib.suppress(BrokenPipeError):
        pipe.send(answer)
    pipe.close()
