"""Cache: everything a project asks of its products, each a sentence that points to the module that does it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from .. import clock, counting, spread
from .. import key as keys
from ..conf import conf
from ..entry import Entry, Point
from ..errors import ones_own
from ..key import Key
from ..primer import UNSET, Primer
from ..process import Process
from ..registry import registry
from ..stock import Flow, Stock
from ..store import families, products, refreshes, usage
from ..store.session import caller
from ..store.usage import Usage
from ..timeframe import TimeFrame
from . import (
    aio,
    counted,
    explaining,
    flight,
    flows,
    frame,
    framed,
    history,
    many,
    measured,
    processes,
    read,
    topics,
    write,
)
from .compute import compute_live
from .context import ATOMIC, TEST, context_of, is_dirty
from .read import RAISE

if TYPE_CHECKING:
    from django.db.models import QuerySet


class Cache:
    """The products of this project. There is one, and it holds nothing: ``Cache.get_instance()``."""

    _instance: Cache | None = None

    @classmethod
    def get_instance(cls) -> Cache:
        """Return the cache."""
        if cls._instance is None:
            cls._instance = cls()
        return cls._instance

    # -- reading
    # ------------------------------------------------------------------------------------------------------

    def get(
        self,
        key: str,
        default: Any = RAISE,
        *,
        prime_on_cache_miss: bool | None = None,
        wait: timedelta | float | None = None,
        max_age: timedelta | float | None = None,
    ) -> Any:
        """Return the product of ``key``: from the cache, or computed on the miss, once, whoever else is
        asking.

        Args:
            default: Returned when nothing is stored and nothing may be computed (instead of ``NotPrimed``).
            prime_on_cache_miss: Whether this call may compute; the primer's attribute where not given.
            wait: How long to wait on a miss, a timedelta or seconds; the primer's ``wait`` where not given.
            max_age: An older value counts as a miss for this call; it is served all the same when ``wait`` is
                over.

        Returns:
            The value: a copy of its own, equal to what any other read returns. None is a value.

        Raises:
            UnknownPrimer, InvalidKey: there is no such product.
            NotPrimed: nothing is stored and this call may not compute.
            ComputeFailed, ComputeTimeout, UnstorableValue: the computation failed, just now or within its
                back-off.
            WaitTimeout: somebody computes, and the wait is over.
            StoreUnavailable: the database does not answer.
        """
        return read.get(key, default, prime_on_cache_miss=prime_on_cache_miss, wait=wait, max_age=max_age)

    def get_entry(
        self,
        key: str,
        default: Any = RAISE,
        *,
        prime_on_cache_miss: bool | None = None,
        wait: timedelta | float | None = None,
        max_age: timedelta | float | None = None,
    ) -> Entry:
        """Return the product with its version, instants, state and age; arguments and errors as ``get``.

        With a ``default``, a product that is not primed is an entry of state ``empty`` with that value.
        """
        return read.get_entry(
            key, default, prime_on_cache_miss=prime_on_cache_miss, wait=wait, max_age=max_age
        )

    def get_many(self, keys: Iterable[str], errors: str = "raise") -> dict[str, Any]:
        """Return many products, as a dict in the order asked, duplicates once; read in one statement.

        Args:
            errors: ``"raise"`` (``SomeFailed``, which carries the good ones), ``"return"`` (the exceptions
                stand among the values) or ``"skip"``.
        """
        return many.get_many(keys, errors)

    def is_set(self, key: str) -> bool:
        """Whether a value is stored under ``key``, fresh or not. Computes nothing and wants nothing."""
        found = registry.key(key)
        of_stock = counted.counted(found)
        if of_stock is not None:
            return counted.is_primed(*of_stock[1:])
        primer = registry.primers.get(found.key_base)
        flow = flows.counted(found)
        if flow is not None:
            return bool(flows.told(found, flow)["state"] == "fresh")
        if isinstance(primer, Process):
            return processes.is_open(primer)
        if isinstance(primer, TimeFrame):
            return framed.is_set(found, primer)
        return products.is_set(caller(spread.alias_of(registry.primers.get(found.key_base))), found.digest)

    # -- writing
    # ------------------------------------------------------------------------------------------------------

    def set(
        self,
        key: str,
        value: Any,
        *,
        check_version: int | None = None,
        soft_expire: timedelta | None = UNSET,
        hard_expire: timedelta | None = UNSET,
        hooks: bool = True,
    ) -> Entry:
        """Store a value, in the caller's transaction; what depends on it becomes stale with the commit.

        Args:
            check_version: Only over this version (0: only where nothing is stored), else ``VersionMismatch``.
            soft_expire, hard_expire: Durations from now, None for never; the primer's where not given.
            hooks: Whether the primer's hooks and their signals run.

        Raises:
            VersionMismatch, UnstorableValue, InvalidKey, HookFailed: nothing was stored.
        """
        return write.set_value(
            key,
            value,
            check_version=check_version,
            soft_expire=soft_expire,
            hard_expire=hard_expire,
            run_hooks=hooks,
        )

    def patch(self, key: str, path: str | Sequence[str | int], value: Any) -> Entry:
        """Replace the part of a stored JSON product at ``path`` (``"plans.pro"`` or a list); two
        patches both survive.

        Raises:
            NotPrimed: nothing is stored.
            ValueError: there is no such place (all but the last step must exist).
        """
        return write.patch(key, path, value)

    def unset(self, key: str, *, hooks: bool = True) -> bool:
        """Remove the value, in the caller's transaction; returns whether there was one. Its versions go on."""
        return write.unset(key, run_hooks=hooks)

    def invalidate(self, key: str | None = None, *, key_base: str | None = None, **params: Any) -> int:
        """Make products unservable: one, or all of a family (with these parameters). No older value is served
        afterwards.

        Returns:
            How many stored products were hit.
        """
        return write.invalidate(key, key_base=key_base, **params)

    # -- refreshing
    # ---------------------------------------------------------------------------------------------------

    def refresh(self, key: str) -> Entry:
        """Compute the product now, and return its new entry. Waits for one under way, then computes once
        more.

        In a transaction that has written, the value is computed with the transaction's own truth, not stored,
        and a refresh is queued with the commit.

        Raises:
            ComputeFailed, ComputeTimeout, UnstorableValue: the old value stays.
        """
        found = registry.key(key)
        primer = self.primer(found)
        alias = spread.alias_of(primer)
        context = context_of(alias)
        here = frame.current()
        if here is not None:
            here.refuse(found)
        of_stock = counted.counted(found)
        if of_stock is not None:
            return counted.refresh(found, *of_stock)
        flow = flows.counted(found)
        if flow is not None:
            return flows.entry(found, flow)
        if isinstance(primer, Process):
            return processes.refresh(found, primer)
        if topics.fed(found) is not None:
            return read.get_entry(found)
        if isinstance(primer, TimeFrame):
            return framed.refresh(found, primer)
        if context == TEST:
            return _entry_or_raise(
                read.in_test(primer, found, alias, force=True, hook="refresh", reason=refreshes.MANUAL)
            )
        if context == ATOMIC and is_dirty(alias):
            outcome = compute_live(primer, found, alias)
            write.wish(primer, found, alias, lane=refreshes.SCHEDULED)
            return _entry_or_raise(outcome)
        return _entry_or_raise(refresh_now(primer, found, alias))

    def request_refresh(self, key: str, priority: int | None = None) -> bool:
        """Queue a refresh (with the caller's transaction, if there is one); the same key is queued once.

        Args:
            priority: The lane, 0 to 9, 0 first; the primer's where not given.

        Raises:
            ValueError: There is no such lane.
        """
        return write.request_refresh(key, priority)

    def is_refreshing(self, key: str) -> bool:
        """Whether somebody computes the product right now."""
        found = registry.key(key)
        alias = spread.alias_of(registry.primers.get(found.key_base))
        return refreshes.is_leased(caller(alias), counted.slot_of(found).digest)

    def pause(self, key_base: str, note: str = "") -> None:
        """Refresh a family by clock or change no longer; reads and ``refresh`` still compute it."""
        families.pause(caller(spread.alias_of(self.primer(key_base))), key_base, note)

    def resume(self, key_base: str) -> bool:
        """Refresh a family again; returns whether it was paused."""
        return families.resume(caller(spread.alias_of(self.primer(key_base))), key_base)

    # -- asking about
    # -------------------------------------------------------------------------------------------------

    def build_key(self, key_base: str, **params: Any) -> Key:
        """Return the canonical key of typed parameters, defaults filled in. Raises UnknownPrimer, InvalidKey."""
        return keys.build(key_base, registry.primer(key_base).parameters, params)

    def primer(self, key: str) -> Primer:
        """Return the primer of a key or key base. Raises UnknownPrimer."""
        return registry.primer(keys.base_of(key))

    def series(
        self,
        key: str,
        start: datetime,
        end: datetime,
        by: str | timedelta | None = None,
        facet: str | None = None,
    ) -> list[Point]:
        """Return what a product with ``keep_history``, or a stock with a ``schedule``, held over ``[start, end)``,
        oldest first; of a flow, what it counted; of a topic with windows, what each of them is; of a time frame,
        the frames that begin in it; of a metric, its number in each period that ``[start, end)`` touches.

        Args:
            start, end: Aware instants; the first is included, the second is not.
            key: Of a time frame, what stands before the window, with or without its size; the finest where not given.
            by: Of a time frame, one of its sizes; of a metric, its period (None) or a longer one. Else None for one
                point a change; a timedelta, or ``"hour" "day" "week" "month" "year"`` in the project's zone beginning
                at ``start``, for the last value of each step.

        Returns:
            Points; of a flow its count in each step that ``[start, end)`` touches, whole, in the flow's zone; of a
            stock its total (as recorded, or, of a step without a record, at its beginning, where its flows tell); of
            both, with ``facet``, a dict of facet value to count. ``value`` is None where nothing was recorded, because
            a gap is not a zero.

        Raises:
            ValueError: ``start`` is not before ``end``, either is naive, ``by`` is unknown, or there is no such
                ``facet``.
        """
        history.bounds(start, end)
        if isinstance(registry.primers.get(keys.base_of(key)), TimeFrame):
            return framed.series(key, start, end, by, facet)
        found = registry.key(key)
        primer = registry.primers.get(found.key_base)
        metric = measured.metric_of(found)
        if metric is not None:
            if facet is not None:
                raise ValueError(f"{str(found)!r} is a metric, one number, and has no facet {facet!r}.")
            return measured.series(found, metric, start, end, by)
        if isinstance(primer, Flow):
            return flows.series(found, primer, start, end, by, facet)
        topic = topics.fed(found)
        if topic is not None and topic.sizes:
            if facet is not None:
                raise ValueError(f"{topic.name!r} is made of messages, and has no facet {facet!r}.")
            return topics.series(found, topic, start, end, by)
        return history.series(found, start, end, by=by, facet=facet)

    def value_at(self, key: str, at: datetime) -> Any:
        """Return what a product with ``keep_history`` held at an instant; a stock with a ``schedule``, in the period
        that this lies in. Of a stock that was not recorded then, what its flows tell: ``{"value": …, "facets": {}}``,
        of an instant at which their windows begin, or of any, where they keep events. Raises NotPrimed: nothing was
        recorded by then, or of that period, and its flows do not tell; the message says why.
        """
        found = registry.key(key)
        metric = measured.metric_of(found)
        if metric is not None:
            return measured.value_at(found, metric, history.aware(at))
        return history.value_at(found, at)

    def picture(
        self,
        key: str,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        by: str | timedelta | None = None,
        facet: str | None = None,
    ) -> dict[str, Any]:
        """Return a process over a period, in one statement: what each stock held, what came in and went out, what it
        holds; what each flow moved.

        Args:
            start, end: Aware instants at which windows of its flows begin. Without ``start``, since the opening of its
                books; without ``end``, until now.
            by: Also step by step: a timedelta, or ``"hour" "day" "week" "month"`` in the project's zone.
            facet: Also by the values of a facet.

        Returns:
            ``{"start", "end", "stocks", "flows", "balanced"}``, with ``by`` also ``"steps"``. Of a stock ``opening, in,
            out, corrected, uncounted, count`` and ``since`` (its opening): numbers of rows, None for what is not known.
            Of a flow ``sources, sinks, count, rate, conversion``: ``rate`` is what left its sources by it as a share of
            what they held at the beginning, ``conversion`` as a share of what came into them; ``complete`` is False
            where it is known to have missed some within the period. Of a step's stocks ``opening, in, out, net, count``
            and ``by_flow``: how many came by each flow that touches it, less than zero where they went; of its flows
            ``count, rate, conversion``.

        Raises:
            ValueError: the product is no process, it has no such facet, or the period does not fit the windows.
            NotPrimed: not all of it is captured.
        """
        found = registry.key(key)
        primer = registry.primers.get(found.key_base)
        if not isinstance(primer, Process):
            raise ValueError(f"{found.key_base!r} is no process.")
        return processes.picture(found, primer, start, end, by=by, facet=facet)

    def members(self, key: str, **facets: Any) -> QuerySet[Any]:
        """Return the rows that a stock counts under ``key``, those of some facet values where given.

        Args:
            facets: Facet name to value; None is the facet of NULL. A combination takes a tuple.

        Returns:
            A queryset in the order of the primary key: a page that begins behind the last one's key
            (``.filter(pk__gt=last)[:50]``) skips nothing and repeats nothing while rows come and go.

        Raises:
            ValueError: the product is no stock, or it has no such facet.
        """
        found = registry.key(key)
        primer = self.primer(found)
        if not isinstance(primer, Stock):
            raise ValueError(f"{str(found)!r} is no stock: it has no members.")
        rows: QuerySet[Any] = counting.members(primer, found, facets)
        return rows

    def explain(self, key: str) -> dict[str, Any]:
        """Return why a product is as it is: state, inputs, outputs, who computes it, last error, next
        refresh.
        """
        return explaining.explain(registry.key(key))

    def usage(self, start: datetime, end: datetime | None = None, *, key_base: str = "") -> dict[str, Usage]:
        """Return how families were read and refreshed: what the cache knows of itself.

        Args:
            start, end: Aware; the hours that begin within ``[start, end)``, up to now where ``end`` is not given.
            key_base: Of one family; of all where empty.

        Returns:
            A ``Usage`` for each family of which something is known: reads by how they went (``fresh, stale, missed,
            failed``), refreshes (``done, broken``), seconds (``took``, ``median``, ``saved``). Processes tell their
            reads once a minute: the last minute of one that was killed is missing, and nothing is where
            ``KCK_FLOW["COUNT_READS"]`` is False.
        """
        found: dict[str, Usage] = {}
        until = end if end is not None else clock.now() + timedelta(seconds=1)
        aliases = {spread.alias_of(primer) for primer in registry.unique()} | set(conf.DATABASES)
        for alias in sorted(aliases):
            found.update(usage.between(caller(alias), start, until, key_base or None))
        return found

    # -- async twins
    # --------------------------------------------------------------------------------------------------

    async def aget(
        self,
        key: str,
        default: Any = RAISE,
        *,
        prime_on_cache_miss: bool | None = None,
        wait: timedelta | float | None = None,
        max_age: timedelta | float | None = None,
    ) -> Any:
        """As ``get``; waiting never blocks the event loop."""
        return await aio.get(
            key, default, prime_on_cache_miss=prime_on_cache_miss, wait=wait, max_age=max_age
        )

    async def aget_entry(
        self,
        key: str,
        default: Any = RAISE,
        *,
        prime_on_cache_miss: bool | None = None,
        wait: timedelta | float | None = None,
        max_age: timedelta | float | None = None,
    ) -> Entry:
        """As ``get_entry``; waiting never blocks the event loop."""
        return await aio.get_entry(
            key, default, prime_on_cache_miss=prime_on_cache_miss, wait=wait, max_age=max_age
        )

    async def aget_many(self, keys: Iterable[str], errors: str = "raise") -> dict[str, Any]:
        """As ``get_many``: one statement, in one hop."""
        return await aio.get_many(keys, errors)

    async def aset(self, key: str, value: Any, **options: Any) -> Entry:
        """As ``set``."""
        entry: Entry = await aio.in_thread(self.set, key, value, **options)
        return entry

    async def arefresh(self, key: str) -> Entry:
        """As ``refresh``; the computation never blocks the event loop."""
        return await aio.refresh(self, key)


def refresh_now(primer: Primer, key: Key, alias: str) -> Any:
    """Compute a product now, whatever is stored; one under way is waited for, and then it runs once more."""
    here = frame.current()
    while True:
        boarded, new = flight.board(
            primer, key, alias, reason=refreshes.MANUAL, hook="refresh", force=True, wait=86_400
        )
        if new:
            if here is not None:
                flight.carry(boarded)
            else:
                flight.depart(boarded)
        boarded.done.wait()
        outcome = boarded.outcome
        assert outcome is not None
        if not new or outcome.kind == "found":
            continue  # not ours: it may have begun before we were asked
        if boarded.busy:
            time.sleep(0.05)
            continue
        return outcome


def _entry_or_raise(outcome: Any) -> Entry:
    if outcome.error is not None:
        raise ones_own(outcome.error)
    entry: Entry = outcome.entry()
    return entry
