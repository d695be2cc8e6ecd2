"""Objects that are saved and deleted become deltas of the flows and stocks that a ``ModelTracker`` feeds.

A row is read from the database right before Django writes or deletes it, under the lock that the write takes
anyway, and again right after it, in the same transaction. What the instance remembers is never asked: two processes
that loaded one row and save different states are two transitions, one after the other. Nothing of the project's own
runs between the two looks, so a save inside a receiver of Django's signals has two of its own.

What neither a save nor a deletion comes to (``update()``, ``bulk_create()``, SQL, other programs) is not seen.
"""

from __future__ import annotations

import functools
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from django.apps import apps
from django.db import Error as DatabaseErrors
from django.db import connections, models, transaction
from django.db.models.signals import pre_delete
from django.db.models.sql import DeleteQuery

from .. import waking
from ..conf import conf
from ..definition import NotCaptured
from ..entry import Row
from ..errors import DeclarationError
from ..registry import registry
from ..spread import alias_of, plain
from ..stock import Flow, Stock
from ..store import deltas, events, generations, pending, refreshes
from ..store.session import Session, caller
from ..tracked import State, TrackedDefinition, looks, tracked_definition, tracked_model, watched_fields
from ..tracker import ModelTracker
from ..walked import TrackedStock, stock_definition

logger = logging.getLogger("kck_flow")

Tracked: TypeAlias = TrackedDefinition | TrackedStock
LOOK_AT = 500  # rows in one query: no statement longer than PostgreSQL likes


@dataclass(frozen=True)
class _Seen:
    """One look at a row.

    Attributes:
        subject: Its primary key, as an event has it.
        rows: What each tracker watches.
        told: What has to be known of it for each flow and stock, by generation: its key, its facet values, its instant;
            text each, or None.
    """

    subject: str
    rows: dict[ModelTracker, Row]
    told: dict[int, tuple[Any, Any, Any]]


class _Plan:
    """What has to be known of a model's rows in one database, and what is fed from them."""

    def __init__(
        self, model: type[models.Model], alias: str, fed: Iterable[tuple[ModelTracker, Tracked]]
    ) -> None:
        self.fed: dict[ModelTracker, list[Tracked]] = defaultdict(list)
        for tracker, found in fed:
            self.fed[tracker].append(found)
        fields = {tracker: watched_fields(model, tracker.fields_to_track) for tracker in self.fed}
        self._definitions = [found for of_one in self.fed.values() for found in of_one]
        self._names = {
            tracker: tuple(field.attname for field in watched) for tracker, watched in fields.items()
        }
        self._attnames = list(dict.fromkeys(name for names in self._names.values() for name in names))
        columns = {column for found in self._definitions for column in found.moving}
        seen = [field for watched in fields.values() for field in watched]
        seen += [field for field in model._meta.local_concrete_fields if field.column in columns]
        self._looked_at = {name for field in seen for name in (field.name, field.attname)}
        # What a column is that the database computes follows from others.
        self._any_column = any(getattr(field, "generated", False) for field in seen)
        self._rows = looks(model, alias, self._attnames, [list(found.told()) for found in self._definitions])

    def concerns(self, update_fields: Iterable[str] | None) -> bool:
        """Whether a save of these fields alone can move anything; None: of all."""
        return not update_fields or self._any_column or not self._looked_at.isdisjoint(update_fields)

    def look(self, pk: Any, lock: str = "") -> _Seen | None:
        """Return a row as the database has it now, None where there is none; see ``look_at``."""
        return next(iter(self.look_at([pk], lock).values()), None)

    def look_at(self, pks: Sequence[Any], lock: str = "") -> dict[Any, _Seen]:
        """Return the rows that there are of some keys, as the database has them now.

        Args:
            lock: ``"update"``, ``"delete"``: keep others from changing them until the transaction ends, as the write
                that follows will; empty: just look.
        """
        found = {}
        for start in range(0, len(pks), LOOK_AT):
            rows = self._rows.filter(pk__in=pks[start : start + LOOK_AT])
            if lock:
                # In one order, whoever locks. An update of no key lets others refer to the row meanwhile.
                rows = rows.order_by("pk").select_for_update(no_key=lock == "update")
            found.update({row[0]: self._seen(row[0], row[1:]) for row in rows})
        return found

    def _seen(self, pk: Any, row: Sequence[Any]) -> _Seen:
        columns = dict(zip(self._attnames, row, strict=False))
        told = row[len(self._attnames) :]
        return _Seen(
            json.dumps([plain(part) for part in pk]) if isinstance(pk, tuple) else str(pk),
            {tracker: Row({name: columns[name] for name in names}) for tracker, names in self._names.items()},
            {
                one.generation: (told[3 * number], told[3 * number + 1], told[3 * number + 2])
                for number, one in enumerate(self._definitions)
            },
        )


# -- what is tracked
# ----------------------------------------------------------------------------------------------------

_tracked: set[type[models.Model]] = set()
_listened: set[type[models.Model]] = set()
_plans: dict[tuple[type[models.Model], str], tuple[int, _Plan | None]] = {}
_kept: set[tuple[str, str]] = set()


def connect() -> None:
    """Watch what is declared now, and again whenever that changes."""
    registry.watchers.append(listen)
    listen()


def listen() -> None:
    """Watch exactly the models that trackers name: a listener to others would end Django's fast deletes for them."""
    if not apps.models_ready:
        return
    found = {model for _, model in _feeding()}
    if not found and not _listened:
        return  # said of each primer that registers
    senders = {
        model
        for model in apps.get_models(include_auto_created=True)
        if (model._meta.concrete_model or model) in found
    }
    for sender in _listened - senders:
        pre_delete.disconnect(_slowly, sender=sender, dispatch_uid="kck_flow.tracking")
    for sender in senders - _listened:
        pre_delete.connect(_slowly, sender=sender, dispatch_uid="kck_flow.tracking")
    if found:  # a project without a tracker deletes as Django does
        _wrap_deletes()
    for model in found:
        _wrap(model)
    for known, now in ((_tracked, found), (_listened, senders)):
        # In this order: what stays is in it all the while, whoever saves meanwhile.
        known.update(now)
        known.intersection_update(now)
    _plans.clear()


def _feeding() -> Iterator[tuple[Stock | Flow, type[models.Model]]]:
    for one in registry.unique():
        if isinstance(one, (Stock, Flow)) and one.capture == "signals" and one.tracker is not None:
            with suppress(DeclarationError):  # told by the checks
                yield one, tracked_model(one.tracker.model)


def _plan(model: type[models.Model], using: str) -> _Plan | None:
    """Return what is done with the rows of a model in a database; None where that is nothing."""
    known = _plans.get((model, using))
    if known is None or known[0] != registry.generation:
        fed: list[tuple[ModelTracker, Tracked]] = []
        for one, tracked in _feeding():
            if tracked is model and using in conf.DATABASES and alias_of(one) == using:
                with suppress(NotCaptured, DeclarationError):  # told by the checks
                    assert one.tracker is not None
                    fed.append((one.tracker, _definition(one, using)))
        known = _plans[model, using] = registry.generation, _Plan(model, using, fed) if fed else None
    return known[1] if known[1] is not None and _are_kept(using) else None


def _definition(one: Stock | Flow, using: str) -> Tracked:
    if isinstance(one, Flow):
        return tracked_definition(one, using)
    found = stock_definition(one, using)
    assert isinstance(found, TrackedStock)
    return found


def _are_kept(using: str) -> bool:
    """Whether our tables are there: an app that is migrated before us may save its rows."""
    place = using, str(connections[using].settings_dict["NAME"])
    if place not in _kept and deltas.are_kept(caller(using)):
        _kept.add(place)
    return place in _kept


# -- saves
# ----------------------------------------------------------------------------------------------------


def _wrap(model: type[models.Model]) -> None:
    """Have each write of a model's table looked at; one that inherits from another that is has that one's way."""
    original: Any = model._save_table  # type: ignore[attr-defined]
    if getattr(original, "kck_flow", False):
        return

    @functools.wraps(original)
    def _save_table(
        self: Any,
        raw: bool = False,
        cls: Any = None,
        force_insert: Any = False,
        force_update: bool = False,
        using: Any = None,
        update_fields: Any = None,
    ) -> Any:
        def write() -> Any:
            return original(
                self,
                raw=raw,
                cls=cls,
                force_insert=force_insert,
                force_update=force_update,
                using=using,
                update_fields=update_fields,
            )

        # Of an object with parents, one table after another is written: each asks for itself.
        plan = _plan(cls, using) if cls in _tracked else None
        if plan is None or not plan.concerns(update_fields):
            return write()
        inserts = force_insert or (
            not raw
            and not force_update
            and self._state.adding
            and all(field.has_default() or field.has_db_default() for field in cls._meta.pk_fields)
        )
        with _together(using):
            return _written(plan, self, cls, using, write, known=not inserts and self._is_pk_set(cls._meta))

    _save_table.kck_flow = True  # type: ignore[attr-defined]
    model._save_table = _save_table  # type: ignore[attr-defined]


def _together(using: str) -> AbstractContextManager[Any]:
    """The write and its transitions in one transaction: Django saves without one in autocommit."""
    return nullcontext() if connections[using].in_atomic_block else transaction.atomic(using=using)


def _written(
    plan: _Plan, instance: Any, cls: type[models.Model], using: str, write: Callable[[], Any], *, known: bool
) -> Any:
    old, updated = None, None
    for again in (True, False):
        old = plan.look(instance._get_pk_val(cls._meta), "update") if known else None
        if old is not None or not known or not again:
            updated = write()
            break
        # What is not there cannot be locked: where the write finds it nevertheless, another has just put it there. It
        # is taken back, and done again to the row that we know then.
        with transaction.atomic(using=using):
            updated = write()
            if updated:
                transaction.set_rollback(True, using=using)
        if not updated:
            break
    _tell(plan, old, plan.look(instance._get_pk_val(cls._meta)), using)
    return updated


# -- deletions
# ----------------------------------------------------------------------------------------------------


def _slowly(sender: type[models.Model], **_: Any) -> None:
    """Django deletes rows without a word where nobody listens; so somebody does."""


def _wrap_deletes() -> None:
    """Have each deletion of a tracked table's rows looked at: what ``delete()`` of an object, of a queryset and of what
    cascades from them comes to.
    """
    original: Any = DeleteQuery.delete_batch
    if getattr(original, "kck_flow", False):
        return

    @functools.wraps(original)
    def delete_batch(self: Any, pk_list: Any, using: str) -> Any:
        model = self.model._meta.concrete_model
        plan = _plan(model, using) if model in _tracked and pk_list else None
        if plan is None:
            return original(self, pk_list, using)
        with _together(using):
            # The query keeps what it was built from: each time it is another.
            return _deleted(
                plan, list(pk_list), using, lambda: original(DeleteQuery(self.model), pk_list, using)
            )

    delete_batch.kck_flow = True  # type: ignore[attr-defined]
    DeleteQuery.delete_batch = delete_batch  # type: ignore[method-assign]


def _deleted(plan: _Plan, pks: list[Any], using: str, delete: Callable[[], int]) -> int:
    old: dict[Any, _Seen] = {}
    count = 0
    for last in (False, False, True):
        old = plan.look_at(pks, "delete")
        if len(old) == len(pks) or last:
            count = delete()
            break
        # As with a save: one that was not there when we looked, and is deleted, has just come. It is looked at first.
        with transaction.atomic(using=using):
            count = delete()
            if count > len(old):
                transaction.set_rollback(True, using=using)
        if count <= len(old):
            break
    # What a trigger of the project's own has kept is still there, in whatever state.
    kept = plan.look_at(list(old)) if count < len(old) else {}
    for pk, seen in old.items():
        _tell(plan, seen, kept.get(pk), using)
    return count


# -- telling
# ----------------------------------------------------------------------------------------------------


def _tell(plan: _Plan, old: _Seen | None, new: _Seen | None, using: str) -> None:
    """Append what a row's change means to what is fed from it, in the transaction of the change."""
    if old is None and new is None:
        return
    session = caller(using)
    for tracker, definitions in plan.fed.items():
        before = old.rows[tracker] if old is not None else None
        after = new.rows[tracker] if new is not None else None
        same = before == after
        moved = [one for one in definitions if not same or _elsewhere(one, old, new)]
        if not moved:
            continue
        try:
            pairs = tracker.transitions(before, after)
        except DatabaseErrors:
            raise  # the transaction is lost with it
        except Exception as error:
            # Whoever saves an object must not fail because of what is derived from it. But what is lost is told.
            logger.exception(
                "tracker.failed tracker=%r old=%r new=%r error=%r", tracker, before, after, error
            )
            for one in moved:
                if isinstance(one, TrackedStock):
                    generations.void(session, one.key_base)
                else:
                    _untold(session, one, old, new)
            continue
        for one in moved:
            if isinstance(one, TrackedStock):
                _hold(session, one, pairs, old, new)
            else:
                _count(session, one, pairs, old, new)


def _elsewhere(one: Tracked, old: _Seen | None, new: _Seen | None) -> bool:
    """Whether a row counts elsewhere than before: for another key; in a stock, for another value of a facet, too."""
    if old is None or new is None:
        return False
    was, now = old.told[one.generation], new.told[one.generation]
    return was[0] != now[0] or (isinstance(one, TrackedStock) and was[1] != now[1])


def _hold(
    session: Session,
    one: TrackedStock,
    pairs: list[tuple[State, State]],
    old: _Seen | None,
    new: _Seen | None,
) -> None:
    was, now = (
        (
            seen.told[one.generation] if seen is not None and one.key_base in states else None
            for seen, states in zip((old, new), zip(*pairs, strict=True), strict=True)
        )
        if pairs
        else (None, None)
    )
    if was == now:
        return
    for told, n in ((was, -1), (now, 1)):
        if told is not None and told[0] is not None:
            deltas.append_member(session, one.generation, n, args=told[0], facets=told[1])


def _count(
    session: Session,
    one: TrackedDefinition,
    pairs: list[tuple[State, State]],
    old: _Seen | None,
    new: _Seen | None,
) -> None:
    if _elsewhere(one, old, new):
        # It left the one key for the outside, and came to the other from there.
        for before, after in pairs:
            _append(session, one, before, None, old, None)
            _append(session, one, None, after, None, new)
    else:
        for before, after in pairs:
            _append(session, one, before, after, old, new)


def _append(
    session: Session,
    one: TrackedDefinition,
    source: State,
    sink: State,
    old: _Seen | None,
    new: _Seen | None,
) -> None:
    if source == sink or source not in one.sources or sink not in one.sinks:
        return
    # What it was as it came into the sink or, where that is the outside, as it left.
    seen = (new or old) if sink is not None else (old or new)
    assert seen is not None
    args, facets, _ = seen.told[one.generation]
    ends = [state for state, of in ((source, one.sources), (sink, one.sinks)) if len(of) > 1]
    at = new.told[one.generation][2] if new is not None else None
    deltas.append_transition(
        session, one.generation, args=args, facets=facets, ends=ends, at=at, window=one.window
    )
    flow = registry.primers.get(one.key_base)
    if isinstance(flow, Flow) and (flow.record_events or flow.event_callables):
        _keep(session, flow, one, seen, source, sink, at)


def _keep(
    session: Session,
    flow: Flow,
    one: TrackedDefinition,
    seen: _Seen,
    source: State,
    sink: State,
    at: str | None,
) -> None:
    """Keep a transition as an event, as a trigger would, and wish for its callables to be called."""
    assert flow.tracker is not None
    args, facets, _ = seen.told[one.generation]
    kept = events.append(
        session,
        one.key_base,
        one.generation,
        args=args,
        subject=(tracked_model(flow.tracker.model)._meta.label, seen.subject),
        ends=[None if state is None else str(state) for state in (source, sink)],
        names=[split.name for split in one.splits],
        facets=facets,
        at=at,
        due=bool(flow.event_callables),
    )
    if kept and flow.event_callables:
        slot = events.slot_key(flow.name)
        mark = pending.Mark(str(slot), "refresh", slot, source=str(refreshes.TRIGGERED), reason="events")
        pending.append(session, [mark])
        waking.soon(session)


def _untold(session: Session, one: TrackedDefinition, old: _Seen | None, new: _Seen | None) -> None:
    keys = {seen.told[one.generation][0] for seen in (old, new) if seen is not None}
    for args in sorted(keys):
        deltas.append_transition(
            session,
            one.generation,
            args=args,
            facets="[]",
            at=None,
            window=one.window,
            first=deltas.UNTOLD,
        )
