"""A process that asks the cache what a test tells it to ask, in one thread or many, and says what it got and
how long it took.

Its main thread carries out one order after another, so that a transaction begun by one is still open in the
next.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.db import connection, connections, transaction
from django.db.transaction import Atomic

from kck_flow import Cache, clock
from kck_flow.errors import SomeFailed
from kck_flow.store import private
from tests.harness import points
from tests.harness.ledger import note, notes

cache = Cache.get_instance()


def serve() -> None:
    """Carry out orders until told to end."""
    number = 0
    points.say("ready")
    while True:
        number += 1
        name, arguments, options = points.wait(f"order {number}")
        if name == "quit":
            return
        try:
            answer = ["ok", ORDERS[name](*arguments, **options)]
        except BaseException as error:
            answer = ["error", told(error)]
        points.say(f"answer {number}", answer)


def told(error: BaseException) -> dict[str, Any]:
    """Return an exception as JSON carries it."""
    found = {"type": type(error).__name__, "text": str(error), "cause": getattr(error, "cause", "")}
    if isinstance(error, SomeFailed):
        found["results"] = error.results
        found["errors"] = {key: told(one) for key, one in error.errors.items()}
    return found


def timed(question: Callable[[], Any]) -> dict[str, Any]:
    """Return what a question gave: its value or error, and how many seconds it took."""
    begun = time.monotonic()
    try:
        value = question()
    except BaseException as error:
        return {**told(error), "seconds": time.monotonic() - begun}
    return {"value": value, "seconds": time.monotonic() - begun}


def at_once(count: int, question: Callable[[int], Any]) -> list[dict[str, Any]]:
    """Ask in so many threads at once, each with connections of its own."""
    found: list[Any] = [None] * count
    line = threading.Barrier(count)

    def ask(index: int) -> None:
        line.wait()
        found[index] = timed(lambda: question(index))
        connections.close_all()

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def get(key: str, **options: Any) -> dict[str, Any]:
    return timed(lambda: cache.get(key, **options))


def get_entry(key: str, **options: Any) -> dict[str, Any]:
    def entry() -> dict[str, Any]:
        found = cache.get_entry(key, **options)
        return {"value": found.value, "state": found.state, "version": found.version}

    return timed(entry)


def get_many(keys: list[str], errors: str = "raise", queries: bool = False) -> dict[str, Any]:
    return timed(lambda: list(cache.get_many(keys, errors).items()))


def mutated(key: str) -> list[Any]:
    """Change what a read returned; return what the next two return."""
    cache.get(key)["list"].append(2)
    second = cache.get(key)
    return [{**second, "list": list(second["list"])}, cache.get(key)]


def gets(key: str, threads: int, atomic: bool = False, **options: Any) -> list[dict[str, Any]]:
    def ask(_: int) -> Any:
        if not atomic:
            return cache.get(key, **options)
        with transaction.atomic():
            return cache.get(key, **options)

    return at_once(threads, ask)


def gets_async(key: str, tasks: int, beside: str = "") -> dict[str, Any]:
    """Ask in so many tasks of one loop; tell, too, how long the loop ever stood still, or a read of `beside` took."""

    async def all_of_them() -> dict[str, Any]:
        longest = 0.0
        over = False

        async def heart() -> None:
            nonlocal longest
            while not over:
                begun = time.monotonic()
                await asyncio.sleep(0.005)
                if beside:
                    await cache.aget(beside)
                longest = max(longest, time.monotonic() - begun)

        async def ask() -> Any:
            begun = time.monotonic()
            try:
                value = await cache.aget(key)
            except Exception as error:
                return {**told(error), "seconds": time.monotonic() - begun}
            return {"value": value, "seconds": time.monotonic() - begun}

        beating = asyncio.create_task(heart())
        found = await asyncio.gather(*(ask() for _ in range(tasks)))
        over = True
        await beating
        return {"answers": found, "longest": longest}

    return asyncio.run(all_of_them())


def hammer(key: str, threads: int, until: str) -> dict[str, Any]:
    """Read again and again until the file `until` is there; tell how often, what, and the longest read."""
    counts: list[int] = [0] * threads
    longest: list[float] = [0.0] * threads
    values: list[Any] = []
    lock = threading.Lock()

    def read(index: int) -> None:
        known: set[str] = set()
        while not os.path.exists(until):
            begun = time.monotonic()
            value = cache.get(key)
            longest[index] = max(longest[index], time.monotonic() - begun)
            counts[index] += 1
            if value not in known:
                known.add(value)
                with lock:
                    values.append(value)
        connections.close_all()

    running = [threading.Thread(target=read, args=(index,)) for index in range(threads)]
    for one in running:
        one.start()
    for one in running:
        one.join()
    return {"reads": sum(counts), "longest": max(longest), "values": sorted(set(values))}


def set_value(
    key: str, value: Any, soft: float | None = None, hard: float | None = None, version: int | None = None
) -> int:
    options: dict[str, Any] = {}
    if soft is not None:
        options["soft_expire"] = timedelta(seconds=soft)
    if hard is not None:
        options["hard_expire"] = timedelta(seconds=hard)
    if version is not None:
        options["check_version"] = version
    return cache.set(key, value, **options).version


def sets(key: str, threads: int, version: int | None = None) -> list[dict[str, Any]]:
    return at_once(threads, lambda index: set_value(key, f"{os.getpid()}.{index}", version=version))


def requests(key: str, times: int) -> None:
    for _ in range(times):
        cache.request_refresh(key)


def many_requests(keys: list[str], priority: int | None = None) -> None:
    for key in keys:
        cache.request_refresh(key, priority)


def authors(count: int) -> None:
    """Add authors, some in a transaction that is rolled back."""
    from tests.shop.models import Author

    for number in range(count):
        Author(name=str(number)).save()
        if number % 5 == 0:
            begin()
            Author(name="never").save()
            end(commit=False)


_blocks: list[Atomic] = []


def begin() -> None:
    block = transaction.atomic()
    block.__enter__()
    _blocks.append(block)


def end(commit: bool = True) -> None:
    block = _blocks.pop()
    if commit:
        block.__exit__(None, None, None)
    else:
        error = RuntimeError("rolled back by the test")
        block.__exit__(RuntimeError, error, None)


def save_author(pk: int | None, name: str) -> int:
    from tests.shop.models import Author

    author = Author(pk=pk, name=name)
    author.save()
    return int(author.pk)


def sql(statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return [list(map(str, row)) for row in cursor.fetchall()] if cursor.description else None


def edge(pk: int, rounds: int, path: str) -> None:
    """Save a row again and again, each with another name."""
    for number in range(rounds):
        save_author(pk, f"{os.getpid()}.{number}")
        note(path, str(number))


def connections_open() -> int:
    """Return how many database connections this process has, of whatever kind."""
    return len(notes("/proc/self/net/tcp")) and sum(
        1 for fd in os.listdir("/proc/self/fd") if _is_database(f"/proc/self/fd/{fd}")
    )


def _is_database(link: str) -> bool:
    try:
        target = os.readlink(link)
    except OSError:
        return False
    if not target.startswith("socket:["):
        return False
    inode = target[8:-1]
    port = f"{int(connection.settings_dict['PORT']):04X}"
    for line in notes("/proc/self/net/tcp")[1:]:
        cells = line.split()
        if cells[9] == inode and cells[2].endswith(f":{port}"):
            return True
    return False


def work(*products: str) -> list[str]:
    """Do what a worker would, on this process's clock, until nothing is due; return the keys computed here."""
    from kck_flow.testing import run_worker

    return run_worker(list(products) or None).keys


class Post:
    """An executor whose broker is the test: hints are kept until somebody fetches them."""

    name = "post"

    def __init__(self) -> None:
        self.room, self.sent, self.broken = 0, [], False

    def capacity(self) -> int:
        return self.room

    def submit(self, slot: int, token: int, lane: int) -> None:
        if self.broken:
            raise ConnectionError("the broker is away")
        self.sent.append([slot, token, lane])


_dispatchers: dict[float, Any] = {}


def tick(room: int, lease: float, broken: bool = False) -> list[list[int]]:
    """Hand out at most so many refreshes; return their hints (slot, token, lane)."""
    from kck_flow.refresh.executor import Dispatcher

    dispatcher = _dispatchers.setdefault(lease, Dispatcher(Post(), lease=lease))
    post = dispatcher.executor
    post.room, post.sent, post.broken = room, [], broken
    handed = dispatcher.tick()
    assert handed == len(post.sent)
    return post.sent


def enter(slot: int, token: int) -> str | None:
    """Follow a hint; return the outcome."""
    from kck_flow.refresh.executor import entry

    return entry(slot, token, worker=f"fleet {os.getpid()}")


def shift(seconds: float) -> None:
    """Move this process's clock, and its statements' with it; zero sets it right again."""
    clock.override(None, timedelta(seconds=seconds))


def flow(**given: Any) -> None:
    """Set KCK_FLOW."""
    settings.KCK_FLOW = given
    # As override_settings says it: what was read of the old ones is kept until then.
    setting_changed.send(sender=None, setting="KCK_FLOW", value=given, enter=True)


def clear(folder: str, given: dict[str, Any]) -> None:
    """Forget the test before."""
    from kck_flow import testing
    from kck_flow.cache import read

    while _blocks:
        end(commit=False)
    os.environ["KCK_TEST_STAGE"] = folder
    shift(0)
    flow(**given)
    testing.reset()
    read.sourced.clear()
    connections.close_all()
    private.close_all()


ORDERS: dict[str, Callable[..., Any]] = {
    "get": get,
    "get_entry": get_entry,
    "get_many": get_many,
    "mutated": mutated,
    "gets": gets,
    "gets_async": gets_async,
    "hammer": hammer,
    "set": set_value,
    "sets": sets,
    "unset": lambda key: cache.unset(key),
    "invalidate": lambda *a, **k: cache.invalidate(*a, **k),
    "refresh": lambda key: timed(lambda: cache.refresh(key).value),
    "request": lambda key, **k: cache.request_refresh(key, **k),
    "requests": requests,
    "many_requests": many_requests,
    "authors": authors,
    "begin": begin,
    "end": end,
    "save_author": save_author,
    "sql": sql,
    "edge": edge,
    "shift": shift,
    "work": work,
    "tick": tick,
    "enter": enter,
    "flow": flow,
    "clear": clear,
    "explain": lambda key: cache.explain(key),
    "is_refreshing": lambda key: cache.is_refreshing(key),
    "connections": connections_open,
    "pause": lambda base, note="": cache.pause(base, note),
    "resume": lambda base: cache.resume(base),
}
