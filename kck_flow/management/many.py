"""Many computations, some at a time: what ``refresh`` and ``warm`` do, as functions of their own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic

from django.db import connections

from .. import spread
from ..cache import counted
from ..cache.listed import servable
from ..definition import Definition
from ..entry import Entry
from ..errors import InvalidKey
from ..key import Key
from ..primer import Primer
from ..registry import registry
from ..stock import Stock
from ..store import families, levels, listings, private
from ..store.session import Session, caller
from .arguments import domain_of, is_action

LOOK = 1000
# So long after Ctrl-C a command may go on waiting.
SIGNAL_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Done:
    """One computation that ended: its entry or its error, and how long it took in seconds."""

    key: Key
    entry: Entry | None
    error: Exception | None
    seconds: float


@dataclass(slots=True)
class Chosen:
    """Which products are meant.

    Attributes:
        keys: In the order of their primers.
        paused: Families left out because they are paused, with their notes.
        errors: Domains that could not be told, by primer.
        left: How many keys were left out since nothing is to be done for them.
    """

    keys: list[Key] = field(default_factory=list)
    paused: dict[str, str] = field(default_factory=dict)
    errors: dict[str, Exception] = field(default_factory=dict)
    left: int = 0


def choose(
    primers: Iterable[Primer],
    *,
    force: bool = False,
    stored: bool = True,
    missing: bool = False,
    before: datetime | None = None,
) -> Chosen:
    """Return the products of some primers: those of their domains and, with ``stored``, those that have a value.

    Args:
        force: Those of paused families, too.
        missing: Only those that a read could not be served.
        before: Only those not computed since then.

    Scheduled actions are left out: running one is more than computing. So are products that each read computes anyway.
    """
    chosen = Chosen()
    paused: dict[str, dict[str, str]] = {}
    for primer in primers:
        if is_action(primer) or primer.always_fresh:
            continue
        session = caller(spread.alias_of(primer))
        if session.alias not in paused:
            paused[session.alias] = families.paused(session)
        if primer.name in paused[session.alias] and not force:
            chosen.paused[primer.name] = paused[session.alias][primer.name]
            continue
        try:
            found = dict.fromkeys(domain_of(primer))
        except (
            Exception
        ) as error:  # the project's own code: the other primers' products are meant all the same
            chosen.errors[primer.name] = error
            continue
        if stored:
            found.update(dict.fromkeys(_stored(session, primer)))
        of_stock = counted.captured(primer)
        if of_stock is not None and not missing:
            # All keys of a counted family are one count, whichever of them is named.
            found = dict.fromkeys([*found, *_held(session, *of_stock[:2])][:1])
        keys = list(found)
        if missing or before is not None:
            keys = _wanted(session, keys, missing, before)
        chosen.left += len(found) - len(keys)
        chosen.keys.extend(keys)
    return chosen


def _held(session: Session, stock: Stock, definition: Definition) -> Iterator[Key]:
    """Yield a key that a counted family holds, if it holds any."""
    args = levels.some_args(session, definition.generation) if stock.parameters else None
    if args is not None:
        with suppress(InvalidKey):  # rows whose column is NULL, say
            yield stock.build_key(**args)


def _stored(session: Session, primer: Primer) -> Iterator[Key]:
    for base in primer.key_base_list:
        for row in listings.entries(session, key_base=base):
            try:
                yield registry.key(row.key)
            except InvalidKey:
                pass  # stored under older parameters: by that name nobody can ask for it any more


def _wanted(session: Session, keys: Sequence[Key], missing: bool, before: datetime | None) -> list[Key]:
    wanted = []
    for start in range(0, len(keys), LOOK):
        part = keys[start : start + LOOK]
        rows = listings.some(session, [key.digest for key in part])
        for key in part:
            row = rows.get(key)
            there = row is not None and servable(row)
            of_stock = counted.counted(key)
            if of_stock is not None and counted.is_primed(*of_stock[1:]):
                if not missing:
                    wanted.append(key)
                continue
            old = (
                row is None
                or row.computed_at is None
                or before is None
                or row.computed_at < before.timestamp()
            )
            if not there or (not missing and old):
                wanted.append(key)
    return wanted


def each(keys: Sequence[Key], compute: Callable[[Key], Entry], *, concurrency: int = 2) -> Iterator[Done]:
    """Compute some products, ``concurrency`` at a time, and yield each as it ends, in whatever order.

    The threads only wait for what the cache's own threads compute; they end with the process, should it be interrupted.
    Inside a ``TestCase`` all happens here, one after the other.
    """
    if concurrency < 2 or len(keys) < 2 or private.in_test_case():
        for key in keys:
            yield _one(key, compute)
        return
    todo: queue.SimpleQueue[Key] = queue.SimpleQueue()
    done: queue.SimpleQueue[Done] = queue.SimpleQueue()
    for key in keys:
        todo.put(key)

    def work() -> None:
        try:
            while True:
                done.put(_one(todo.get_nowait(), compute))
        except queue.Empty:
            connections.close_all()

    for number in range(min(concurrency, len(keys))):
        threading.Thread(target=work, name=f"kck-many-{number}", daemon=True).start()
    for _ in keys:
        yield _got(done)


def _got(done: queue.SimpleQueue[Done]) -> Done:
    """Wait for what is done next. A signal that comes as the wait begins is not seen before its end: it ends soon, or
    Ctrl-C would be heard when a product is done, which may take an hour.
    """
    while True:
        try:
            return done.get(timeout=SIGNAL_SECONDS)
        except queue.Empty:
            continue


def _one(key: Key, compute: Callable[[Key], Entry]) -> Done:
    begun = monotonic()
    try:
        return Done(key, compute(key), None, monotonic() - begun)
    except Exception as error:
        return Done(key, None, error, monotonic() - begun)
