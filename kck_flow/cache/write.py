"""What the caller changes by hand: set, patch, unset, invalidate, in the caller's own transaction.

Value, marks of what depends on it and the effects of hooks commit together or vanish together. A slot is
never touched here: a hot product's writers would wait for each other until commit.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.db import Error as DatabaseErrors
from django.db import connections

from .. import clock, hooks, spread, waking
from .. import key as keys
from ..entry import Entry
from ..errors import InvalidKey, NotPrimed, UnknownPrimer, UnstorableValue, VersionMismatch
from ..key import Key
from ..primer import LANES, UNSET, Primer, is_duration, is_whole
from ..process import Process
from ..registry import registry
from ..stock import Flow, Stock
from ..store import generations, pending, private, products, refreshes
from ..store.products import Published
from ..store.refreshes import instant
from ..store.session import Session, caller, is_lock_timeout
from ..storing import args_of, encode, expiries, public_of
from ..timeframe import TimeFrame
from ..topic import Topic
from . import counted, frame, framed, tier

logger = logging.getLogger("kck_flow")


def set_value(
    text: str,
    value: Any,
    *,
    check_version: int | None = None,
    soft_expire: Any = UNSET,
    hard_expire: Any = UNSET,
    run_hooks: bool = True,
) -> Entry:
    """Set a product; see ``Cache.set``."""
    key = registry.key(text)
    _no_stock(key)
    primer = registry.primers.get(key.key_base)
    if check_version is not None and not is_whole(check_version, 0, 2**63 - 1):
        raise ValueError(
            f"check_version is the version that you have read (0 for none), not {check_version!r}."
        )
    for name, duration in (("soft_expire", soft_expire), ("hard_expire", hard_expire)):
        if duration is not UNSET and duration is not None and not is_duration(duration):
            raise ValueError(
                f"{name} is a timedelta from zero to a hundred years, or None for never, not {duration!r}."
            )
    codec = primer.codec if primer is not None else Primer.codec
    session = caller(spread.alias_of(primer))
    listened = run_hooks and hooks.anything(primer)
    edges = registry.on_product(key.key_base)
    history = primer is not None and primer.keep_history
    # Where transactions have snapshots of their own, the marks of some readers are a second statement.
    late = bool(session.connection.settings_dict.get("OPTIONS", {}).get("isolation_level"))
    if not listened and not edges and not history and not late:
        stored, kept = _write(session, key, primer, codec, value, check_version, soft_expire, hard_expire)
        return _entry(key, codec.decode(kept) if kept is not None else None, stored)
    with session.transaction():
        held = products.lock(session, key.digest)
        old = codec.decode(held.value) if held is not None and held.value is not None else None
        if run_hooks:
            hooks.run(primer, "pre_set", key, session=session, value=value)
            hooks.run(primer, "pre_write", key, session=session, value=value)
        stored, kept = _write(session, key, primer, codec, value, check_version, soft_expire, hard_expire)
        at = instant(stored.computed_at)
        assert at is not None
        # What is recorded was marked with the write itself.
        spread.declared_from_product(
            session, key, version=stored.version, old=old, new=value, at=at, reason=f"{key} set"
        )
        if primer is not None and primer.keep_history:
            hooks.record(session, primer, key, kept, version=stored.version, at=stored.computed_at)
        entry = _entry(key, codec.decode(kept) if kept is not None else None, stored)
        if run_hooks:
            hooks.run(primer, "post_write", key, session=session, entry=entry, old=old)
            hooks.run(primer, "post_set", key, session=session, entry=entry, old=old)
    return entry


def _write(
    session: Session,
    key: Key,
    primer: Primer | None,
    codec: Any,
    value: Any,
    expected: int | None,
    soft_expire: Any,
    hard_expire: Any,
) -> tuple[Published, str | None]:
    text, state = encode(key, primer, codec, value)
    soft, hard = expiries(primer, value, soft_expire, hard_expire)
    written = products.write(
        session,
        key,
        args=args_of(primer, key),
        value=text,
        public=public_of(codec, text),
        state=state,
        primer_version=primer.version if primer is not None else 1,
        soft=soft,
        hard=hard,
        expected=expected,
    )
    if written is None:
        held = products.read(session, key.digest, probe=False, changes=False, dirty=False, limit=0)
        version = held.version if held is not None else 0
        raise VersionMismatch(
            f"{str(key)!r} has version {version}, not {expected}: somebody changed it since you read it. "
            "Read it again, and decide anew.",
            version=version,
        )
    stored, marked, epoch = written
    if pending.all_below(session, [(key.digest, str(key))], marked, "set"):
        waking.soon(session)
    tier.drop(key)
    here = frame.current()
    if here is not None:
        here.hints.set(key, _entry(key, value, stored), text, stored.computed_at, epoch)
    return stored, text


def _tell(session: Session, key: Key, stored: Published, old: Any, new: Any) -> None:
    """Mark what depends on the product."""
    at = instant(stored.computed_at)
    assert at is not None
    spread.from_product(session, key, version=stored.version, old=old, new=new, at=at, reason=f"{key} set")


def _entry(key: Key, value: Any, stored: Published) -> Entry:
    return Entry(
        str(key),
        value,
        stored.version,
        instant(stored.computed_at),
        instant(stored.soft_expires_at),
        instant(stored.hard_expires_at),
        "fresh",
        timedelta(0),
    )


def patch(text: str, path: str | Sequence[str | int], value: Any) -> Entry:
    """Replace a part of a stored JSON product; see ``Cache.patch``."""
    key = registry.key(text)
    _no_stock(key)
    primer = registry.primers.get(key.key_base)
    codec = primer.codec if primer is not None else Primer.codec
    if codec.name != Primer.codec.name:
        raise UnstorableValue(
            f"{str(key)!r} is kept by the codec {codec.name!r}; only JSON products can be patched."
        )
    listed = path.split(".") if isinstance(path, str) else path
    known = isinstance(listed, (list, tuple)) and all(
        isinstance(step, (str, int)) and not isinstance(step, bool) for step in listed
    )
    steps = [str(step) for step in listed] if known else []
    if not steps or "" in steps:
        raise ValueError(
            f"The path of a patch is a list of names and positions, or a dotted text; {path!r} is not."
        )
    # As the codec writes such a name: its own, which begin with a single $, are no places.
    places = [f"${step}" if step.startswith("$") else step for step in steps]
    session = caller(spread.alias_of(primer))
    with session.transaction():
        held = products.lock(session, key.digest)
        if held is None or held.state == "unset":
            raise NotPrimed(
                f"{str(key)!r} is not primed: there is nothing to patch. Set it, or refresh it first."
            )
        old = codec.decode(held.value) if held.value is not None else None
        hooks.run(primer, "pre_write", key, session=session, value=value)
        done = products.patch(session, key.digest, places, codec.encode(value))
        if done is None:
            raise ValueError(
                f"{str(key)!r} has no place {'.'.join(steps)!r} to patch: "
                "all but the last step must exist, and lead to a dict or to a position of a list."
            )
        stored, now_text = done
        new = codec.decode(now_text)
        _tell(session, key, stored, old, new)
        if primer is not None and primer.keep_history:
            hooks.record(session, primer, key, now_text, version=stored.version, at=stored.computed_at)
        entry = _entry(key, new, stored)
        hooks.run(primer, "post_write", key, session=session, entry=entry, old=old)
    tier.drop(key)
    here = frame.current()
    if here is not None:
        here.hints.forget(key)
    return entry


def _no_topic(name: str, key_base: str) -> None:
    if isinstance(registry.primers.get(key_base), Topic):
        raise UnstorableValue(
            f"{name!r} is what its messages add up to, and cannot be changed by hand: send messages, or have them "
            f"handled again with manage.py kck rewind {key_base} --to INSTANT."
        )


def _no_stock(key: Key) -> None:
    if framed.framed(key) is not None:
        framed.refuse_by_hand(key)
    _no_topic(str(key), key.key_base)
    primer = registry.primers.get(key.key_base)
    if counted.counted(key) is not None or isinstance(primer, (Flow, Process)):
        raise UnstorableValue(
            f"{str(key)!r} is what its rows add up to, and cannot be set: change the rows, or count them anew with "
            f"manage.py kck refresh {key}."
        )


def unset(text: str, *, run_hooks: bool = True) -> bool:
    """Remove a product's value; see ``Cache.unset``."""
    key = registry.key(text)
    _no_topic(str(key), key.key_base)
    of_stock = counted.counted(key)
    if of_stock is not None:
        return generations.void(caller(of_stock[2]), key.key_base) > 0
    if framed.framed(key) is not None:
        framed.refuse_by_hand(key)
    primer = registry.primers.get(key.key_base)
    codec = primer.codec if primer is not None else Primer.codec
    session = caller(spread.alias_of(primer))
    with session.transaction():
        held = products.lock(session, key.digest)
        old = codec.decode(held.value) if held is not None and held.value is not None else None
        if run_hooks:
            hooks.run(primer, "pre_unset", key, session=session)
        version, was_set = products.unset(session, key, args_of(primer, key))
        if was_set:
            spread.from_product(
                session, key, version=version, old=old, new=None, at=clock.now(), reason=f"{key} unset"
            )
        if run_hooks:
            hooks.run(primer, "post_unset", key, session=session, old=old)
    tier.drop(key)
    here = frame.current()
    if here is not None:
        here.hints.deleted(key, clock.now().timestamp())
    return was_set


def invalidate(text: str | None = None, *, key_base: str | None = None, **params: Any) -> int:
    """Make products unservable; see ``Cache.invalidate``."""
    if (text is None) == (key_base is None):
        raise TypeError("invalidate(key) or invalidate(key_base=..., **params): give one of the two.")
    if text is not None:
        if params:
            raise TypeError(
                "invalidate(key) takes no parameters: they are in the key. Use invalidate(key_base=..., **params)."
            )
        _no_topic(str(text), keys.base_of(text))
        return _invalidate_one(registry.key(text))
    assert key_base is not None
    if not isinstance(key_base, str):
        raise InvalidKey(f"A key base is a text, not {key_base!r}.")
    _no_topic(key_base, key_base)
    primer = registry.primers.get(key_base)
    if primer is None and params:
        raise UnknownPrimer(registry.unknown(key_base))
    args = _partial(primer, key_base, params) if primer is not None and params else None
    if primer is not None and args is not None and len(args) == len(primer.parameters):
        return _invalidate_one(primer.build_key(**params))
    if isinstance(primer, TimeFrame):
        return framed.again(primer, args or {})
    session = caller(spread.alias_of(primer))
    if isinstance(primer, Stock) and counted.definition_of(primer, session.alias) is not None:
        return generations.void(session, key_base)
    with session.transaction():
        found = products.invalidate_family(session, key_base, args)
        # First computations under way have no row to invalidate: this mark is what their publish finds.
        pending.append(
            session, [pending.Mark(key_base, spread.STALE, None, args, source=key_base, reason="invalidated")]
        )
        if args is None:
            spread.from_family(session, key_base, at=clock.now(), reason=f"{key_base} invalidated")
        for _, one in found:
            spread.below(
                session,
                registry.key(one),
                at=clock.now(),
                reason=f"{one} invalidated",
                declared=args is not None,
            )
    tier.clear()
    return len(found)


def _invalidate_one(key: Key) -> int:
    of_stock = counted.counted(key)
    if of_stock is not None:
        return generations.void(caller(of_stock[2]), key.key_base)
    primer = registry.primers.get(key.key_base)
    if isinstance(primer, TimeFrame):
        return framed.ask(key, primer)
    session = caller(spread.alias_of(primer))
    with session.transaction():
        _, was_set = products.invalidate(session, key, args_of(primer, key))
        spread.below(session, key, at=clock.now(), reason=f"{key} invalidated")
    tier.drop(key)
    here = frame.current()
    if here is not None:
        here.hints.forget(key)
    return int(was_set)


def _partial(primer: Primer, key_base: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return some parameters as the tables hold them. Raises InvalidKey for an unknown or wrong one."""
    by_name = {parameter.name: parameter for parameter in primer.parameters}
    args: dict[str, Any] = {}
    for name, value in params.items():
        if name not in by_name:
            raise InvalidKey(
                f"{key_base!r} has no parameter {name!r}. It takes: {', '.join(by_name) or 'none'}."
            )
        if value is None and by_name[name].default is None:
            args[name] = None
            continue
        try:
            args[name] = by_name[name].to_json(by_name[name].clean(value))
        except (ValueError, TypeError) as error:
            raise InvalidKey(f"{key_base!r}: {name} {error}.") from None
    return args


def request_refresh(text: str, priority: int | None = None, *, reason: str = refreshes.MANUAL) -> bool:
    """Queue a refresh; see ``Cache.request_refresh``."""
    key = registry.key(text)
    primer = registry.primers.get(key.key_base)
    if primer is None:
        raise UnknownPrimer(registry.unknown(key.key_base))
    if priority is not None and not is_whole(priority, LANES[0], LANES[-1]):
        raise ValueError(f"priority is a lane, a whole number from 0 to {LANES[-1]}, not {priority!r}.")
    if isinstance(primer, TimeFrame):
        return framed.request(key, primer, priority if priority is not None else primer.priority)
    alias = spread.alias_of(primer)
    lane = priority if priority is not None else min(primer.priority, refreshes.SCHEDULED)
    slot, args = _slot(primer, key)
    if private.in_test_case() or not connections[alias].in_atomic_block:
        try:
            with _slots(alias) as session:
                asked = refreshes.request(
                    session,
                    slot,
                    args,
                    lane=lane,
                    reason=reason,
                    gap=primer.min_gap.total_seconds(),
                )
                waking.soon(session)
            return asked is not None
        except (private.Busy, DatabaseErrors) as error:
            if not isinstance(error, private.Busy) and not is_lock_timeout(error):
                raise
            # The slot is in somebody's hands for long: the wish waits beside it.
    wish(primer, key, alias, lane=lane, reason=reason)
    return True


def wish(primer: Primer, key: Key, alias: str, *, lane: int, reason: str = refreshes.MANUAL) -> None:
    """Queue a refresh with the caller's transaction or not at all; the slot itself would make its writers queue up."""
    # The parameters go along: of what was never computed, they are all that tells the key.
    slot, args = _slot(primer, key)
    mark = pending.Mark(slot.key_base, spread.REFRESH, slot, args, source=str(lane), reason=reason)
    pending.append(caller(alias), [mark])
    waking.soon(caller(alias))


def _slot(primer: Primer, key: Key) -> tuple[Key, dict[str, Any]]:
    slot = counted.slot_of(key)
    return slot, args_of(primer, key) if slot is key else {}


@contextmanager
def _slots(alias: str) -> Iterator[Session]:
    if private.in_test_case():
        yield caller(alias)
    else:
        with private.session(alias, timeout=2.0) as session:
            yield session
