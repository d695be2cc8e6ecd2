"""A panel of django-debug-toolbar: which products a request read, which were hits, and what that saved.

``DEBUG_TOOLBAR_PANELS = [..., "kck_flow.panels.ProductsPanel"]``.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Any

from debug_toolbar.panels import Panel
from django.db import connections
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from . import clock, spread, wording
from .cache import aio, listed
from .cache.facade import Cache
from .dashboards.captions import caption
from .dashboards.pages import href
from .entry import Entry
from .errors import KckFlowError
from .key import Key
from .process import Process
from .registry import registry
from .stock import Flow, Stock
from .store import listings, refreshes
from .store.session import caller
from .timeframe import TimeFrame

HIT, STALE, MISS, EMPTY = "hit", "stale", "miss", "empty"


@dataclass
class Read:
    """One read: of what, how it went, how many seconds it took."""

    key: str
    outcome: str
    seconds: float


# What the request that is being served reads: a context variable, so that requests that are served by turns in one loop
# do not hear of each other. None: nobody looks.
_reads: ContextVar[list[Read] | None] = ContextVar("kck_flow.reads", default=None)


def _outcome(entry: Entry, asked: Any) -> str:
    if entry.state == "empty":
        return EMPTY
    if entry.version and entry.computed_at is not None and entry.computed_at >= asked:
        return MISS  # computed because it was asked for
    return HIT if entry.state == "fresh" else STALE


def _watched(read: Callable[..., Any], read_entry: Callable[..., Any], *, value: bool) -> Callable[..., Any]:
    """Return a read that tells how it went, where somebody looks."""

    @functools.wraps(read)
    def watched(self: Cache, key: str, *args: Any, **options: Any) -> Any:
        reads = _reads.get()
        if reads is None:
            return read(self, key, *args, **options)
        asked, began = clock.now(), time.perf_counter()
        try:
            entry: Entry = read_entry(self, key, *args, **options)
        except KckFlowError:
            reads.append(Read(str(key), MISS, time.perf_counter() - began))
            raise
        reads.append(Read(entry.key, _outcome(entry, asked), time.perf_counter() - began))
        return entry.value if value else entry

    return watched


def _awatched(read: Callable[..., Any], read_entry: Callable[..., Any], *, value: bool) -> Callable[..., Any]:
    """As ``_watched``, of a read that is awaited."""

    @functools.wraps(read)
    async def watched(self: Cache, key: str, *args: Any, **options: Any) -> Any:
        reads = _reads.get()
        if reads is None:
            return await read(self, key, *args, **options)
        asked, began = clock.now(), time.perf_counter()
        try:
            entry: Entry = await read_entry(self, key, *args, **options)
        except KckFlowError:
            reads.append(Read(str(key), MISS, time.perf_counter() - began))
            raise
        reads.append(Read(entry.key, _outcome(entry, asked), time.perf_counter() - began))
        return entry.value if value else entry

    return watched


def _many(read: Callable[..., Any]) -> Callable[..., Any]:
    """Return a read of many that tells how it went: of each that came back without being computed, a hit."""

    @functools.wraps(read)
    def watched(self: Cache, keys: Iterable[str], *args: Any, **options: Any) -> Any:
        reads = _reads.get()
        if reads is None:
            return read(self, keys, *args, **options)
        asked = list(keys)
        before = _stored(asked)
        began = time.perf_counter()
        try:
            return read(self, asked, *args, **options)
        finally:
            each = (time.perf_counter() - began) / max(len(asked), 1)
            reads.extend(Read(str(key), before.get(str(key), HIT), each) for key in asked)

    return watched


def _amany(read: Callable[..., Any]) -> Callable[..., Any]:
    """As ``_many``, of a read that is awaited."""

    @functools.wraps(read)
    async def watched(self: Cache, keys: Iterable[str], *args: Any, **options: Any) -> Any:
        reads = _reads.get()
        if reads is None:
            return await read(self, keys, *args, **options)
        asked = list(keys)
        before = await aio.in_thread(_stored, asked)
        began = time.perf_counter()
        try:
            return await read(self, asked, *args, **options)
        finally:
            each = (time.perf_counter() - began) / max(len(asked), 1)
            reads.extend(Read(str(key), before.get(str(key), HIT), each) for key in asked)

    return watched


def _stored(keys: list[str]) -> dict[str, str]:
    """Return which of some products will be misses, or stale, before they are read together; what is counted as rows
    move is neither.
    """
    found: dict[str, list[Key]] = {}
    for text in keys:
        try:
            key = registry.key(text)
        except KckFlowError:
            continue
        primer = registry.primers.get(key.key_base)
        if not isinstance(primer, (Stock, Flow, Process, TimeFrame)):
            found.setdefault(spread.alias_of(primer), []).append(key)
    told: dict[str, str] = {}
    for alias, own in found.items():
        rows = listings.some(caller(alias), [key.digest for key in own])
        for key in own:
            row = rows.get(str(key))
            if row is None or not listed.servable(row):
                told[str(key)] = MISS
            elif listed.state_of(row) != "fresh":
                told[str(key)] = STALE
    return told


def watch() -> None:
    """Have reads tell how they go, where somebody looks; once for all, and at no cost before it is called."""
    if getattr(Cache, "_watched", False):
        return
    get, get_entry = Cache.get, Cache.get_entry
    aget, aget_entry = Cache.aget, Cache.aget_entry
    made: Any = Cache
    made._watched = True
    made.get, made.get_entry = (
        _watched(get, get_entry, value=True),
        _watched(get_entry, get_entry, value=False),
    )
    made.aget = _awatched(aget, aget_entry, value=True)
    made.aget_entry = _awatched(aget_entry, aget_entry, value=False)
    made.get_many, made.aget_many = _many(Cache.get_many), _amany(Cache.aget_many)


class ProductsPanel(Panel):  # type: ignore[misc]
    """Products read in this request: hit, stale, miss, time saved, and where their lineage is."""

    title = gettext_lazy("Data products")
    template = "kck_flow/panel.html"
    is_async = True
    _token: Token[list[Read] | None] | None = None

    @classmethod
    def ready(cls) -> None:
        watch()

    @property
    def nav_title(self) -> str:
        return str(_("Data products"))

    @property
    def nav_subtitle(self) -> str:
        stats = self.get_stats()
        count = stats.get("count", 0)
        text = ngettext("%(count)s read", "%(count)s reads", count) % {"count": count}
        return f"{text}, {stats['saved']} {_('saved')}" if stats.get("saved") else text

    def enable_instrumentation(self) -> None:
        self.reads: list[Read] = []
        self._token = _reads.set(self.reads)

    def disable_instrumentation(self) -> None:
        if self._token is not None:
            try:
                _reads.reset(self._token)
            except ValueError:  # ended in another task than it began in: that one's variable is its own
                _reads.set(None)
            self._token = None

    def generate_stats(self, request: Any, response: Any) -> None:
        reads = list(getattr(self, "reads", ()))
        keys = {read.key for read in reads}
        costs = _anywhere(lambda: _costs(keys))
        addresses = _anywhere(lambda: {key: _address(key) for key in keys})
        saved = sum(
            max(costs.get(read.key, 0.0) - read.seconds, 0.0)
            for read in reads
            if read.outcome in (HIT, STALE)
        )
        self.record_stats(
            {
                "count": len(reads),
                "saved": wording.span(saved) if saved else "",
                "outcomes": [
                    (outcome, sum(read.outcome == outcome for read in reads))
                    for outcome in (HIT, STALE, MISS, EMPTY)
                    if any(read.outcome == outcome for read in reads)
                ],
                "reads": [
                    {
                        "key": read.key,
                        "outcome": read.outcome,
                        "took": wording.span(read.seconds),
                        "saved": wording.span(costs[read.key] - read.seconds)
                        if read.outcome in (HIT, STALE) and costs.get(read.key, 0.0) > read.seconds
                        else "",
                        "address": addresses[read.key],
                    }
                    for read in reads
                ],
            }
        )


def _anywhere(ask: Callable[[], Any]) -> Any:
    """Return what a function that queries the database returns; in a thread of its own where this one has a loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return ask()

    def apart() -> Any:
        try:
            return ask()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(apart).result()


def _costs(keys: set[str]) -> dict[str, float]:
    """Return how many seconds products took to be computed last, by key; those that never were are left out."""
    found: dict[str, float] = {}
    for text in keys:
        try:
            key = registry.key(text)
        except KckFlowError:
            continue
        session = caller(spread.alias_of(registry.primers.get(key.key_base)))
        slots = refreshes.listed(session, digest=key.digest, limit=1)
        if slots and slots[0][21] is not None:
            found[text] = slots[0][21] / 1000
    return found


def _address(text: str) -> str:
    """Return where a product's lineage is shown: its own page; empty where the project includes none."""
    try:
        return href(caption(registry.key(text)))
    except KckFlowError:
        return ""
