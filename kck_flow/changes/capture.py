"""Saved and deleted rows become marks and changes of the products that depend on them, by Django's signals: of what
triggers do not serve (``rows``).

The old row is read again from the database under its lock, in the same transaction, never taken from the
instance: two processes that loaded one row and save different states tell the truth. ``save()`` and
``delete()`` are seen; bulk writes and other programs are not (signals cannot), and a scheduled recompute
repairs what they change.

In autocommit Django's ``save`` sends its signals outside of any transaction: a process that died between the
row and its mark would lose the change. So the ``save_base`` of a tracked model runs in one.
"""

from __future__ import annotations

import functools
import logging
import uuid
from collections.abc import Mapping
from typing import Any

from django.apps import apps
from django.db import connections, models, transaction
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save

from .. import clock, spread, waking
from ..conf import conf
from ..entry import Change, Row
from ..primer import On, Primer
from ..registry import registry
from ..store.session import Session
from . import rows, watches
from .bodies import quoted

logger = logging.getLogger("kck_flow")

_HELD = "_kck_flow_old"
_wrapped: set[type[models.Model]] = set()
_lineage: dict[type[models.Model], list[type[models.Model]]] = {}


def connect() -> None:
    """Listen to what is declared now, and again whenever that changes."""
    registry.watchers.append(listen)
    listen()


def listen() -> None:
    """Connect the signals of exactly the models that some edge is declared on, or that inherit from one.

    Of those alone: a listener to every model would end Django's fast deletes for the whole project.
    """
    if not apps.models_ready:
        return
    found = _lineages()
    for model in set(_lineage) - set(found):
        for signal, receiver in _RECEIVERS:
            signal.disconnect(receiver, sender=model, dispatch_uid=f"kck_flow.{receiver.__name__}")
    for model in set(found) - set(_lineage):
        _wrap(model)
        for signal, receiver in _RECEIVERS:
            signal.connect(receiver, sender=model, dispatch_uid=f"kck_flow.{receiver.__name__}")
    _lineage.clear()
    _lineage.update(found)


def _lineages() -> dict[type[models.Model], list[type[models.Model]]]:
    """Return, for each model whose saving matters, the tracked models that it is or inherits from."""
    tracked = set(registry.models())
    found = {}
    for model in apps.get_models(include_auto_created=True):
        concrete = model._meta.concrete_model or model
        seen = [one for one in (concrete, *concrete._meta.get_parent_list()) if one in tracked]
        if seen:
            found[model] = list(dict.fromkeys(seen))
    return found


def _wrap(model: type[models.Model]) -> None:
    if model in _wrapped:
        return
    _wrapped.add(model)
    original = model.save_base

    @functools.wraps(original)
    def save_base(self: models.Model, *args: Any, **kwargs: Any) -> Any:
        using = kwargs.get("using") or self._state.db or "default"
        if connections[using].in_atomic_block or model not in _lineage:
            return original(self, *args, **kwargs)
        with transaction.atomic(using=using):
            return original(self, *args, **kwargs)

    model.save_base = save_base  # type: ignore[method-assign]


def _before(sender: type[models.Model], instance: models.Model, using: str, **_: Any) -> None:
    if using in conf.DATABASES:
        known = instance.pk is not None
        held = {
            model: _row(model, instance.pk, using, lock=True) if known else None
            for model in _lineage[sender]
            if _ours(model, using)
        }
        # A stack: a save inside a pre_save handler of the same instance must not take the outer one's.
        instance.__dict__.setdefault(_HELD, []).append(held)


def _after_save(sender: type[models.Model], instance: models.Model, using: str, **_: Any) -> None:
    if using in conf.DATABASES:
        old = _recall(instance)
        for model in old:
            _tell(model, old[model], _row(model, instance.pk, using, lock=False), using)
        _wake(sender, old, using)


def _before_delete(sender: type[models.Model], instance: models.Model, using: str, **_: Any) -> None:
    _before(sender, instance, using)


def _after_delete(sender: type[models.Model], instance: models.Model, using: str, **_: Any) -> None:
    if using in conf.DATABASES:
        old = _recall(instance)
        for model in old:
            # The row of a parent table is still there, and may stay: its own deletion is told by its own signal.
            own = model is sender._meta.concrete_model
            _tell(model, old[model], None if own else _row(model, instance.pk, using, lock=False), using)
        _wake(sender, old, using)


def _ours(model: type[models.Model], using: str) -> list[tuple[Primer, On]]:
    """Return the edges on a model that its triggers do not serve."""
    edges = registry.on_model(model)
    relation = rows_of(model)
    served = rows.served(Session(connections[using]), relation)
    return [(primer, on) for primer, on in edges if watches.name_of(primer, on, using) not in served]


def rows_of(model: type[models.Model]) -> str:
    """Return a model's table as triggers name it."""
    return quoted(model._meta.db_table)


def _wake(sender: type[models.Model], told: Mapping[Any, Any], using: str) -> None:
    """Wake the workers for what a trigger has told: it must not do so itself (``waking``)."""
    if any(model not in told for model in _lineage[sender]):
        waking.soon(Session(connections[using]))


def _recall(instance: models.Model) -> dict[Any, Row | None]:
    held = instance.__dict__.get(_HELD)
    found: dict[Any, Row | None] = held.pop() if held else {}
    if held is not None and not held:
        del instance.__dict__[_HELD]
    return found


def _row(model: type[models.Model], pk: Any, using: str, *, lock: bool) -> Row | None:
    """Return the row as the database has it now, in this transaction; ``lock`` keeps others from changing it
    meanwhile.
    """
    names = [field.attname for field in model._meta.concrete_fields]
    rows = model._base_manager.using(using).filter(pk=pk).order_by()
    if lock and connections[using].in_atomic_block:
        rows = rows.select_for_update(of=("self",)) if model._meta.parents else rows.select_for_update()
    found = rows.values_list(*names).first() if not lock else next(iter(rows.values_list(*names)), None)
    return Row(dict(zip(names, found, strict=True))) if found is not None else None


def _tell(model: type[models.Model], old: Row | None, new: Row | None, using: str) -> None:
    if old == new:
        return
    session = Session(connections[using])
    told: set[str] | None = None
    for primer, on in _ours(model, using):
        before, after = _picked(model, on, old), _picked(model, on, new)
        if before != after:
            if on.then == spread.AUGMENT:
                # Put in place a moment ago, or by another release: a change that both tell would be folded twice.
                told = rows.told(session, rows_of(model)) if told is None else told
                if f"{primer.name}:{on.then}" in told:
                    continue
            change = Change(uuid.uuid4().hex, model._meta.label, None, before, after, clock.now())
            _append(session, change, primer, on)


def _append(session: Session, change: Change, primer: Primer, on: On) -> None:
    spread.from_row(session, change, [(primer, on)], f"{change.source} {_verb(change)}")


def _verb(change: Change) -> str:
    return "added" if change.old is None else "deleted" if change.new is None else "changed"


def _picked(model: type[models.Model], on: On, row: Row | None) -> Row | None:
    """Return the columns of a row that an edge watches: those it names, its key's, and the primary key."""
    if row is None or on.fields is None:
        return row
    by_name = {field.name: field.attname for field in model._meta.concrete_fields}
    names = {by_name.get(name, name) for name in on.fields if name != "pk"}
    names.add(model._meta.pk.attname)
    if isinstance(on.key, str):
        names.add(on.key)
    elif on.key is not None and not callable(on.key):
        names.update(on.key.values())
    return Row({name: value for name, value in row.items() if name in names})


_RECEIVERS = (
    (pre_save, _before),
    (post_save, _after_save),
    (pre_delete, _before_delete),
    (post_delete, _after_delete),
)
