"""A read of a counted product: its levels and what waits to be folded, in one statement; computed live where that will
not do.

Exact in every context: the statement sees what its transaction sees. It writes nothing and waits for nobody.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

from django.db import Error as DatabaseErrors

from .. import clock, spread
from ..changes import telling
from ..counting import count
from ..definition import Definition, NotCaptured
from ..entry import Entry
from ..errors import DeclarationError, NotPrimed, ReadOnlyStore, StoreUnavailable
from ..key import Key
from ..primer import Primer
from ..registry import registry
from ..stock import Stock
from ..store import generations, levels, private, refreshes
from ..store.refreshes import instant
from ..store.session import Session, caller
from ..walked import stock_definition
from . import frame, reach, recount
from .context import ATOMIC, OPEN, TEST, context_of
from .pool import pool

# How long what captures a table is believed (one query finds out), and from how many deltas on a read has them folded.
CAPTURED_SECONDS = 1.0
FOLD_FROM, FOLD_SECONDS, FOLD_BATCH = 2000, 1.0, 20_000
# How long a reader that finds a family uncounted waits for it to be counted, before it counts its own key.
PRIME_SECONDS = 1.0

_definitions: dict[tuple[str, str], tuple[int, Definition | None, str]] = {}
_captured: dict[tuple[str, int], tuple[float, str]] = {}
_folded: dict[tuple[str, int], float] = {}
_lock = threading.Lock()


def definition_of(stock: Stock, alias: str) -> Definition | None:
    """Return a stock's definition; None where it is not captured."""
    return _known(stock, alias)[1]


def why_not(stock: Stock, alias: str) -> str:
    """Return why a stock is not captured; empty where it is."""
    return _known(stock, alias)[2]


def _known(stock: Stock, alias: str) -> tuple[int, Definition | None, str]:
    known = _definitions.get((alias, stock.name))
    if known is None or known[0] != id(stock):
        try:
            known = (id(stock), stock_definition(stock, alias), "")
        except NotCaptured as error:
            known = (id(stock), None, str(error))
        except DeclarationError as error:
            raise DeclarationError(f"{stock.name!r}: {error}") from None
        _definitions[alias, stock.name] = known
    return known


def counted(key: Key) -> tuple[Stock, Definition, str] | None:
    """Return (stock, definition, alias) where a key is of a captured stock."""
    primer = registry.primers.get(key.key_base)
    if not isinstance(primer, Stock):
        return None
    alias = spread.alias_of(primer)
    found = definition_of(primer, alias)
    return (primer, found, alias) if found is not None else None


def captured(primer: Primer | None) -> tuple[Stock, Definition, str] | None:
    """Return (stock, definition, alias) of a primer that is a captured stock; None of any other, and of one that is
    declared wrongly.
    """
    if not isinstance(primer, Stock):
        return None
    alias = spread.alias_of(primer)
    try:
        found = definition_of(primer, alias)
    except DeclarationError:
        return None  # told by the checks
    return (primer, found, alias) if found is not None else None


def is_captured(primer: Primer) -> bool:
    """Whether a primer is a captured stock."""
    return isinstance(primer, Stock) and definition_of(primer, spread.alias_of(primer)) is not None


def slot_of(key: Key) -> Key:
    """Return the key of the slot under which a product is refreshed: of a captured stock, that of its family."""
    return recount.slot_key(key.key_base) if counted(key) is not None else key


def entry(
    key: Key,
    stock: Stock,
    found: Definition,
    alias: str,
    *,
    prime: bool | None = None,
    default: bool = False,
    patient: bool = True,
) -> Entry | None:
    """Return a key of a captured stock with its instants. It has no version: what it holds is as new as the read.

    Args:
        prime: Whether it may be counted where nothing is stored; the stock's attribute where not given.
        default: Whether None comes back where it may not, instead of an error.
        patient: Whether this thread may wait a moment for the family to be counted.

    Raises:
        NotPrimed: nothing is stored, and it may not be counted.
    """
    _refuse(key)
    may = stock.prime_on_cache_miss if prime is None else prime
    context = context_of(alias)

    def ask() -> levels.Held | None:
        return levels.read(caller(alias), found.generation, key.params, timed=found.timed)

    first = reach.once_more(alias, context == OPEN, str(key), ask)
    held = _usable(stock, found, alias, context, first)
    if held is None and first is not None and may:
        if context == TEST:
            held = ask() if recount.in_test(stock, found, alias) else None
        else:
            over = recount.soon(stock, found, alias)
            # A small family is counted for good in a moment; of a large one, this key alone is the shorter way.
            if context == OPEN and frame.current() is None and patient and over.wait(PRIME_SECONDS):
                held = _usable(stock, found, alias, context, ask())
    return _noted(key, stock, found, _entry(key, stock, held, may, default))


def entries(asked: Sequence[tuple[Key, Stock, Definition, str]]) -> list[Entry | Exception]:
    """Return many keys of captured stocks, or what was raised instead: one statement for each database."""
    found: dict[int, Entry | Exception] = {}
    for alias in dict.fromkeys(one[3] for one in asked):
        places = [place for place, one in enumerate(asked) if one[3] == alias]
        context = context_of(alias)

        def ask(
            alias: str = alias,
            keys: Any = [  # noqa: B006
                (asked[place][2].generation, asked[place][0].params, asked[place][2].timed)
                for place in places
            ],
        ) -> list[levels.Held | None]:
            return levels.read_many(caller(alias), keys)

        prints = captured_many([asked[place][2] for place in places], alias, context)
        for place, held in zip(
            places, reach.once_more(alias, context == OPEN, f"{len(places)} stocks", ask), strict=True
        ):
            key, stock, definition, _ = asked[place]
            may = stock.prime_on_cache_miss
            try:
                captured = prints[definition.generation]
                if _usable(stock, definition, alias, context, held, captured) is None:
                    told = entry(key, stock, definition, alias)
                else:
                    _refuse(key)
                    told = _noted(key, stock, definition, _entry(key, stock, held, may, False))
                assert told is not None
                found[place] = told
            except Exception as error:
                found[place] = error
    return [found[place] for place in range(len(asked))]


def _refuse(key: Key) -> None:
    here = frame.current()
    if here is not None:
        here.refuse(key)


def _noted(key: Key, stock: Stock, found: Definition, entry: Entry | None) -> Entry | None:
    """Remember what the product being computed here has read."""
    if frame.current() is not None:
        value = copy.deepcopy(entry.value) if entry is not None else None

        def moved(session: Session) -> bool:
            held = levels.read(session, found.generation, key.params, timed=found.timed)
            captured = generations.captured_by(session, found.relation, found.generation)
            usable = held is not None and held.holds(captured)
            return value != (
                stock.shape.display(held.rows) if held is not None and usable else count(stock, key)
            )

        frame.note_counted(key, moved)
    return entry


def _entry(key: Key, stock: Stock, held: levels.Held | None, may: bool, default: bool) -> Entry | None:
    if held is not None:
        at = instant(held.now)
        return Entry(str(key), stock.shape.display(held.rows), 0, at, None, None, "fresh", timedelta(0))
    if may:
        return Entry(str(key), count(stock, key), 0, clock.now(), None, None, "fresh", timedelta(0))
    if default:
        return None
    raise NotPrimed(
        f"{stock.name!r} has not been counted, and this call may not count it. Run: manage.py kck refresh {key}"
    )


def refresh(key: Key, stock: Stock, found: Definition, alias: str) -> Entry:
    """Count a family anew, now, and return the entry of one of its keys; in a transaction that has begun, its own
    truth, and the count is left to a thread. Whoever counts the family already is waited for.

    Raises:
        ComputeFailed: the count failed; what was there stays.
        StoreUnavailable: it could not begin.
    """
    context = context_of(alias)
    if context == TEST:
        recount.in_test(stock, found, alias)
    elif context == ATOMIC:
        recount.soon(stock, found, alias, reason=refreshes.MANUAL)
        return Entry(str(key), count(stock, key), 0, clock.now(), None, None, "fresh", timedelta(0))
    else:
        # Inside of a compute this thread is one of the cache's own, and the only one that is sure to be free.
        apart = frame.current() is None
        try:
            outcome = recount.patiently(stock, found, alias, reason=refreshes.MANUAL, apart=apart)
        except ReadOnlyStore as error:
            raise ReadOnlyStore(f"{stock.name!r} cannot be counted here. {error}") from error
        except (private.Busy, DatabaseErrors) as error:
            raise StoreUnavailable(f"{stock.name!r} could not be counted: {error}".strip()) from error
        if outcome == "failed":
            raise recount.failure(key, stock, alias)
    return entry(key, stock, found, alias)  # type: ignore[return-value]


def _usable(
    stock: Stock,
    found: Definition,
    alias: str,
    context: str,
    held: levels.Held | None,
    captured: str | None = None,
) -> levels.Held | None:
    """Return what was read where it can be served; None where the rows have to be counted.

    Args:
        captured: What captures its table now, where that is known.
    """
    if held is None:
        return None  # nothing captures for this definition: there is nothing to prime
    if not held.holds(captured_now(found, alias, context) if captured is None else captured):
        return None
    if held.waiting > FOLD_FROM and context != TEST:
        _fold(found, alias)
    return held


def captured_now(found: Definition, alias: str, context: str) -> str:
    """Return what captures a table, as this process knew it at most a second ago."""
    return captured_many([found], alias, context)[found.generation]


def captured_many(asked: Sequence[Definition], alias: str, context: str) -> dict[int, str]:
    """Return ``captured_now`` of several definitions, by generation: what is not known, in one statement."""
    if not asked:
        return {}
    now = time.monotonic()
    told: dict[int, str] = {}
    unknown: dict[int, str] = {}
    for one in asked:
        known = _captured.get((alias, one.generation)) if context != TEST else None
        if known is not None and now - known[0] <= CAPTURED_SECONDS:
            told[one.generation] = known[1]
        else:
            unknown[one.generation] = one.relation
    if not unknown:
        return told
    if context == TEST:
        return told | generations.captured_by_many(caller(alias), unknown)
    try:
        # What a transaction sees may be gone with it, and is not to be remembered: another connection is asked.
        with nullcontext(caller(alias)) if context == OPEN else private.session(alias) as session:
            found = generations.captured_by_many(session, unknown)
    except private.Busy:
        return told | generations.captured_by_many(caller(alias), unknown)
    _captured.update(((alias, generation), (now, one)) for generation, one in found.items())
    return told | found


def _fold(found: Definition, alias: str) -> None:
    now = time.monotonic()
    with _lock:
        if now - _folded.get((alias, found.generation), 0.0) < FOLD_SECONDS:
            return
        _folded[alias, found.generation] = now

    def work() -> None:
        try:
            with private.session(alias) as session:
                # Where no worker lives, nobody else ends the lease of a count that died.
                if levels.uncounted(session)[1]:
                    refreshes.end_overdue(session)
                    recount.end_leaseless(session)
                while telling.fold(session, found.generation, found.key_base, FOLD_BATCH) >= FOLD_BATCH:
                    pass
        except (private.Busy, DatabaseErrors):
            pass  # the next read asks again

    pool().submit(work)


def is_primed(found: Definition, alias: str) -> bool:
    """Whether a family is counted and captured: its keys are read, and not counted."""
    held = levels.read(caller(alias), found.generation, {})
    captured = generations.captured_by(caller(alias), found.relation, found.generation)
    return held is not None and held.holds(captured)


def told(key: Key | None, stock: Stock, found: Definition, alias: str) -> dict[str, Any]:
    """Return what ``explain`` tells of a captured stock: it has no stored value, and hence no expiry. Without a key, of
    the family.
    """
    args = key.params if key is not None else {}
    held = levels.read(caller(alias), found.generation, args, timed=found.timed)
    captured = generations.captured_by(caller(alias), found.relation, found.generation)
    if held is None or not captured:
        cause = "not captured in this database, or not whole: each read counts. Run: manage.py migrate"
    elif held.token is not None:
        cause = "being counted"
    elif held.primed_at is None:
        cause = "never counted: the next read counts, and has the family counted for good"
    elif held.void:
        cause = (
            "something happened that no trigger can tell (a TRUNCATE, an invalidate): the next read counts"
        )
    elif held.captured != captured:
        cause = "what captures its table has changed since it was counted: the next read counts"
    elif stock.capture == "signals":
        cause = "counted: it sees what this application saves, one row at a time"
    else:
        cause = "captured: what is written to its table is in it at the commit"
    served = held is not None and held.holds(captured)
    counting = held is not None and held.token is not None
    return {
        "state": "fresh" if served else "computing" if counting else "empty",
        "cause": cause,
        "value": stock.shape.display(held.rows) if held is not None and served else None,
        "computed_at": instant(held.primed_at) if held is not None else None,
        "counted": {
            "table": found.relation,
            "members": found.member,
            **({"begins": found.begins, "ends": found.ends} if found.timed else {}),
            "columns": list(found.columns),
            "generation": found.generation,
            "waiting": held.waiting if held is not None else 0,
        },
    }


def forget() -> None:
    """Forget what this process knows (between tests)."""
    with _lock:
        _captured.clear()
        _folded.clear()
        _definitions.clear()
