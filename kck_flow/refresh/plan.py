"""What is due: schedules put in force, domains walked, keys that came or went.

A product on a schedule is a slot with its next instant; there is no scheduler. A primer without parameters
has its one slot; one with a domain has beside them a slot of our own, ``!plan:<name>``, due at each of its
instants, that walks the domain: new keys begin with the period that is just beginning, keys that left are
refreshed by the clock no longer.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from .. import configured, spread
from .. import key as keys
from ..cache import counted, framing, recount
from ..cache.facade import Cache
from ..key import Key
from ..primer import Primer, as_key
from ..registry import registry
from ..stock import Stock
from ..store import events, families, refreshes
from ..store.session import Session
from ..storing import args_of
from ..streams import planner
from ..timeframe import TimeFrame

logger = logging.getLogger("kck_flow")

PLAN = "plan:"
BATCH = 1000


def plan_key(primer: Primer) -> Key:
    """Return the key of the slot that walks a primer's domain."""
    return keys.internal(f"{PLAN}{primer.name}")


def plan_base(name: str) -> str:
    """Return the key base of the slot that walks a family's domain."""
    return f"{keys.INTERNAL}{PLAN}{name}"


def is_plan(key: Key) -> bool:
    """Whether a slot walks a domain."""
    return key.key_base.startswith(f"{keys.INTERNAL}{PLAN}")


def planned(key: Key) -> Primer | None:
    """Return the primer whose domain a slot walks, or None where it is not known here."""
    return registry.primers.get(served(key.key_base))


def domain_of(primer: Primer) -> list[Key]:
    """Return the keys that a primer's schedule keeps warm; a domain that is itself a product is read. What it
    raises, rises.
    """
    if not isinstance(primer.domain, str):
        return primer.domain_keys()
    listed = Cache.get_instance().get(primer.domain)
    return list(dict.fromkeys(as_key(primer, one) for one in listed or ()))


def known_bases(products: Sequence[str] | None = None) -> list[str]:
    """Return the key bases that this process can refresh (those of ``products``, where given), with the slots of our
    own that serve them: plans, counts of stocks, callables of flows, and planners of time frames.
    """
    names = [name for name in registry.primers if products is None or name in products]
    stocks = [name for name in names if isinstance(registry.primers[name], Stock)]
    calling = [name for name in names if getattr(registry.primers[name], "event_callables", ())]
    return [
        *names,
        *(plan_base(name) for name in names),
        *(recount.slot_base(name) for name in stocks),
        *(events.slot_base(name) for name in calling),
        *(framing.slot_base(name) for name in names if isinstance(registry.primers[name], TimeFrame)),
    ]


def served(key_base: str) -> str:
    """Return the family that a slot works for: its own, or that which one of our own plans or counts."""
    if not key_base.startswith(keys.INTERNAL):
        return key_base
    return key_base.partition(":")[2]


def sync(
    session: Session,
    alias: str,
    now: datetime,
    products: Sequence[str] | None = None,
    loaded_at: datetime | None = None,
) -> int:
    """Put the declared schedules of one database in force; returns how many primers changed.

    An older process never un-schedules what a newer declaration scheduled; one that does not know a primer
    leaves it be. Between declarations of one version the process loaded last decides: ``loaded_at`` is when this
    one was, None to decide in any case.
    """
    in_force = families.known(session)
    changed = 0
    configured.seen(session)
    for primer in registry.unique():
        if spread.alias_of(primer) != alias or (products is not None and primer.name not in products):
            continue
        digest = primer.schedule.digest() if primer.schedule is not None else ""
        version, known_digest, synced_at = in_force.get(primer.name, families.UNKNOWN)
        if version > primer.version:
            continue
        if (
            known_digest != digest
            and loaded_at is not None
            and synced_at is not None
            and synced_at > loaded_at
        ):
            continue
        framed = isinstance(primer, TimeFrame)
        unheard_of = version == 0 and primer.schedule is None and primer.autostart and not framed
        if (version, known_digest) != (primer.version, digest) and not unheard_of:
            families.declare(
                session, primer.name, version=primer.version, schedule=digest, paused=not primer.autostart
            )
            changed += 1
            if not framed:
                logger.info("schedule.changed family=%s schedule=%s", primer.name, primer.schedule or "none")
        if isinstance(primer, TimeFrame):
            planner.sync(session, primer)
            continue
        if primer.schedule is None:
            if known_digest:
                refreshes.unschedule(session, primer.name, [])
                refreshes.unschedule(session, plan_key(primer).key_base, [])
            continue
        _put(session, primer, digest, now)
    return changed


def _put(session: Session, primer: Primer, digest: str, now: datetime) -> None:
    assert primer.schedule is not None
    first = primer.schedule.next(now)
    if first is None:
        return
    if not primer.parameters and primer.domain is None:
        key = primer.build_key()
        refreshes.schedule(
            session,
            [(key, {}, first, primer.schedule.jittered(first, key))],
            lane=primer.priority,
            digest=digest,
        )
        return
    plan = plan_key(primer)
    if counted.captured(primer) is not None:
        # All keys in one go, when the first period begins: see recording.py.
        due = primer.schedule.jittered(first, plan)
        refreshes.schedule(session, [(plan, {}, first, due)], lane=refreshes.TRIGGERED, digest=digest)
        return
    # Walked at once, as a refresh: a domain that raises is tried again with back-off and ends nobody.
    refreshes.schedule(session, [(plan, {}, first, now)], lane=refreshes.TRIGGERED, digest=digest)


def walk(session: Session, primer: Primer, nominal: datetime, found: Sequence[Key]) -> tuple[int, int]:
    """Schedule what is in a domain from ``nominal`` on, take off what is not; returns (new, gone)."""
    assert primer.schedule is not None
    digest = primer.schedule.digest()
    new = 0
    for begin in range(0, len(found), BATCH):
        rows = [
            (key, args_of(primer, key), nominal, primer.schedule.jittered(nominal, key))
            for key in found[begin : begin + BATCH]
        ]
        new += refreshes.schedule(session, rows, lane=primer.priority, digest=digest)
    gone = refreshes.unschedule(session, primer.name, [key.digest for key in found])
    if new or gone:
        logger.info("domain.walked family=%s keys=%d new=%d gone=%d", primer.name, len(found), new, gone)
    return new, gone
