"""WRITE: one change becomes the marks of everything it reaches.

In the transaction of the change, so that a commit takes them along and a rollback takes them back. Below an
edge that says ``stale`` everything derived further is stale at once; ``refresh`` and ``augment`` stop at the
first product, whose own publish goes on from there (and does not, when its value turns out equal).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.core.signals import setting_changed

from . import waking
from .codec import JSON
from .conf import conf
from .entry import Change, Row
from .key import Key
from .primer import On, Primer
from .registry import home_of, registry
from .store import pending
from .store.private import SUFFIX
from .store.session import Session
from .storing import args_of

if TYPE_CHECKING:
    from django.db.models import Model

STALE, REFRESH, CHANGE = "stale", "refresh", "change"
# What a family of time frames was told in a transaction: it holds with the commit.
TOLD = "told"
AUGMENT = "augment"


def alias_of(primer: Primer | None) -> str:
    """Return the database that holds a primer's products (``home_of``); without a primer, the first."""
    if primer is None:
        return str(conf.DATABASES[0])
    known = _aliases.get(primer)
    if known is None or known[0] != registry.generation:
        known = _aliases[primer] = registry.generation, home_of(primer)
    return known[1]


_aliases: dict[Primer, tuple[int, str]] = {}


def _forget_aliases(*, setting: str, **_: Any) -> None:
    if setting in ("KCK_FLOW", "DATABASE_ROUTERS", "DATABASES"):
        _aliases.clear()


setting_changed.connect(_forget_aliases, dispatch_uid="kck_flow.spread")


def from_product(
    session: Session, key: Key, *, version: int, old: Any, new: Any, at: datetime, reason: str
) -> int:
    """Mark everything that a changed product reaches; returns how many rows were appended.

    ``old`` and ``new`` are the values (None where there is none): what the changes of augmented products
    carry.
    """
    change = Change(f"{key.digest.hex}:{version}", key.key_base, key, old, new, at)
    return _woken(session, _spread(session, change, registry.on_product(key.key_base), reason, start=key))


def declared_below(key: Key) -> Sequence[tuple[Primer, On]]:
    """Return the edges declared on a product's family."""
    return registry.on_product(key.key_base)


def declared_from_product(
    session: Session, key: Key, *, version: int, old: Any, new: Any, at: datetime, reason: str
) -> int:
    """Mark what is declared to depend on a changed product; what is recorded was marked with the value itself."""
    edges = registry.on_product(key.key_base)
    if not edges:
        return 0
    change = Change(f"{key.digest.hex}:{version}", key.key_base, key, old, new, at)
    return _woken(session, _spread(session, change, edges, reason, start=None))


def from_row(session: Session, change: Change, edges: Sequence[tuple[Primer, On]], reason: str) -> int:
    """Mark everything that a changed row reaches; returns how many rows were appended."""
    return _woken(session, _spread(session, change, edges, reason, start=None))


def below(session: Session, key: Key, *, at: datetime, reason: str, declared: bool = True) -> int:
    """Mark everything below a product that has become stale without a new value; returns how many rows were
    appended.
    """
    if not declared:
        return _woken(session, pending.append_downstream(session, key.digest, source=str(key), reason=reason))
    return _woken(session, _below(session, key.key_base, key, at, reason, {(key.key_base, key)}))


def from_family(session: Session, key_base: str, *, at: datetime, reason: str) -> int:
    """Mark everything downstream of a whole family as if each of its products had changed."""
    return _woken(session, _below(session, key_base, None, at, reason, set()))


def from_counted(
    session: Session, key_base: str, changed: Sequence[Key], *, at: datetime, reason: str, many: int
) -> int:
    """Mark everything that changed keys of a counted family reach; returns how many rows were appended.

    Of more than ``many`` keys, what is declared on the family is told at once.
    """
    written = pending.append_unmarked_downstream(
        session, [(key.digest, str(key)) for key in changed], reason=reason
    )
    if registry.on_product(key_base):
        for key in changed if len(changed) <= many else (None,):
            visited: set[tuple[str, str | None]] = {(key_base, key)}
            written += _declared_below(session, key_base, key, at, reason, visited)
    return _woken(session, written)


def _woken(session: Session, written: int) -> int:
    if written:
        waking.soon(session)
    return written


def _spread(
    session: Session, change: Change, edges: Iterable[tuple[Primer, On]], reason: str, start: Key | None
) -> int:
    marks: list[pending.Mark] = []
    below: list[tuple[str, Key | None]] = []
    visited: set[tuple[str, str | None]] = set()
    if start is not None:
        visited.add((start.key_base, start))
    for primer, on, key, side in registry.downstream(change, edges):
        # Folded only where it commits with its cause: what has to be delivered elsewhere makes the product stale.
        if on.then == AUGMENT and key is not None and alias_of(primer) == session.alias.removesuffix(SUFFIX):
            marks.append(
                pending.Mark(
                    primer.name, CHANGE, key, source=change.source, change=to_json(side), reason=reason
                )
            )
            continue
        # A change that cannot be told to one product cannot be folded: the family is computed afresh.
        kind = REFRESH if on.then == REFRESH else STALE
        marks.append(_mark(primer, kind, key, str(change.key or change.source), reason))
        if kind == STALE and (primer.name, key) not in visited:
            visited.add((primer.name, key))
            below.append((primer.name, key))
    pending.append(session, marks)
    written = len(marks)
    if start is not None:
        written += pending.append_downstream(session, start.digest, source=str(start), reason=reason)
    for key_base, key in below:
        written += _below(session, key_base, key, change.at, reason, visited)
    return written


def _below(
    session: Session,
    key_base: str,
    key: Key | None,
    at: datetime,
    reason: str,
    visited: set[tuple[str, str | None]],
) -> int:
    """Mark what is declared and recorded below a product (or family) that has just become stale."""
    written = 0
    if key is not None:
        written += pending.append_downstream(session, key.digest, source=str(key), reason=reason)
    return written + _declared_below(session, key_base, key, at, reason, visited)


def _declared_below(
    session: Session,
    key_base: str,
    key: Key | None,
    at: datetime,
    reason: str,
    visited: set[tuple[str, str | None]],
) -> int:
    written = 0
    marks: list[pending.Mark] = []
    further: list[tuple[str, Key | None]] = []
    for primer, on in registry.on_product(key_base):
        if on.then == AUGMENT:
            continue  # its change comes when the product above is computed again
        kind = REFRESH if on.then == REFRESH else STALE
        targets: Iterable[Key | None] = [None]
        if key is not None:
            change = Change(f"{key.digest.hex}:stale", key_base, key, None, None, at)
            targets = [target for target, _ in registry.reached(primer, on, change)]
        for target in targets:
            if (primer.name, target) in visited:
                continue
            visited.add((primer.name, target))
            marks.append(_mark(primer, kind, target, key_base if key is None else str(key), reason))
            if kind == STALE:
                further.append((primer.name, target))
    pending.append(session, marks)
    written += len(marks)
    for base, target in further:
        written += _below(session, base, target, at, reason, visited)
    return written


def _mark(primer: Primer, kind: str, key: Key | None, source: str, reason: str) -> pending.Mark:
    if key is None and not primer.parameters:
        key = primer.build_key()
    # The parameters go along: where the product lives in another database, they are all that tells its key there.
    args = args_of(primer, key) if key is not None else None
    base = key.key_base if key is not None else primer.name
    return pending.Mark(base, kind, key, args, source=source, reason=reason)


# -- changes as they travel: JSON, typed again on arrival
# ----------------------------------------------------------


def to_json(change: Change) -> str:
    """Return a change as the text of its jsonb column."""
    if change.key is not None:
        old, new = (
            None if side is None else json.loads(JSON.encode(side)) for side in (change.old, change.new)
        )
    else:
        old, new = (
            None if side is None else {name: plain(value) for name, value in side.items()}
            for side in (change.old, change.new)
        )
    return json.dumps(
        {"id": change.id, "old": old, "new": new, "key": change.key, "at": change.at.isoformat()}
    )


def from_json(found: Any, source: str) -> Change:
    """Return the change of a jsonb column; columns of a model get their Python types back."""
    sides: list[Any] = []
    model = _model(source) if found.get("key") is None else None
    for side in (found.get("old"), found.get("new")):
        if side is None:
            sides.append(None)
        elif model is not None:
            sides.append(Row({name: typed(model, name, value) for name, value in side.items()}))
        else:
            sides.append(JSON.decode(json.dumps(side)))
    key = registry.key(found["key"]) if found.get("key") else None
    return Change(found["id"], source, key, sides[0], sides[1], datetime.fromisoformat(found["at"]))


def plain(value: Any) -> Any:
    """Return a column's value as JSON holds it, in the spelling that ``to_jsonb`` would give."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat()
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).hex()
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if hasattr(value, "lower_inc") and hasattr(value, "isempty"):
        bounds = ("[" if value.lower_inc else "(") + ("]" if value.upper_inc else ")")
        ends = {"lower": plain(value.lower), "upper": plain(value.upper)}
        return {**ends, "bounds": bounds, "empty": value.isempty}
    return str(value)


def typed(model: type[Model], attname: str, value: Any) -> Any:
    """Return a captured column's value as the model's field holds it."""
    if value is None:
        return None
    field = next((field for field in model._meta.concrete_fields if field.attname == attname), None)
    if field is None:
        return value
    return _of_field(getattr(field, "target_field", field) if field.is_relation else field, value)


def _of_field(field: Any, value: Any) -> Any:
    if value is None:
        return None
    target = (
        getattr(field, "output_field", None) or field
    )  # what the database computes is of another field's kind
    if hasattr(target, "range_type"):
        lower, upper = (_of_field(target.base_field, value[end]) for end in ("lower", "upper"))
        return target.range_type(lower, upper, value["bounds"], value["empty"])
    if hasattr(target, "base_field") and isinstance(value, list):
        return [_of_field(target.base_field, one) for one in value]
    if target.get_internal_type() == "DurationField":
        return timedelta(seconds=float(value))
    if target.get_internal_type() == "BinaryField":
        return bytes.fromhex(value.removeprefix("\\x"))
    if target.get_internal_type() == "JSONField":
        return value
    return target.to_python(value)


def _model(source: str) -> type[Model] | None:
    from django.apps import apps

    try:
        return apps.get_model(source)
    except (LookupError, ValueError):
        return None
