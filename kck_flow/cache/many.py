"""Cache.get_many: all hits in one statement, all misses side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

from django.db import InterfaceError, OperationalError

from .. import spread
from ..conf import conf
from ..errors import InvalidKey, KckFlowError, SomeFailed, ones_own
from ..key import Key
from ..primer import Primer
from ..process import Process
from ..registry import registry
from ..store import products
from ..store.products import Stored
from ..store.session import caller
from . import behind, counted, flight, flows, frame, framed, processes, reach, read, tallies
from .compute import Outcome
from .context import ATOMIC, OPEN, TEST, context_of, is_dirty
from .verdict import MISSING, judge


def get_many(keys: Iterable[str], errors: str = "raise") -> dict[str, Any]:
    """Return many products; see ``Cache.get_many``."""
    asked, landed = listed(keys), Landed()
    while True:
        try:
            return try_many(asked, errors, landed)
        except ManyBoarded as boarded:
            for joined, answers in boarded.flights:
                joined.done.wait(landed.patience(joined))
                landed.take(joined, answers)


def listed(keys: Iterable[str]) -> list[str]:
    """Return the keys that were asked for, as a list. Raises TypeError, InvalidKey: they are none."""
    if isinstance(keys, (str, bytes)) or not isinstance(keys, Iterable):
        text = "the text " if isinstance(keys, str) else ""
        raise TypeError(f"get_many takes a list of keys, not {text}{keys!r}.")
    found = list(keys)
    for one in found:
        if not isinstance(one, str):
            raise InvalidKey(f"A key is a text, not {one!r}.")
    return found


class Landed:
    """What the misses of one ``get_many`` came to: all fly side by side, and each waits from the same beginning."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self.outcomes: dict[Key, Outcome] = {}

    def patience(self, joined: flight.Flight) -> float:
        """Return how many seconds the caller still waits for a flight."""
        return max(self._begun + joined.primer.wait_seconds(conf.WAIT) - time.monotonic(), 0)

    def take(self, joined: flight.Flight, answers: Callable[[Outcome], bool]) -> None:
        """Take a flight's outcome if it is for this caller; when the wait is over, that it is."""
        outcome = joined.outcome
        if outcome is not None and answers(outcome):
            self.outcomes[joined.key] = outcome
        elif self.patience(joined) <= 0:
            error = flight.timeout(joined.key, joined.primer.wait_seconds(conf.WAIT))
            self.outcomes[joined.key] = Outcome(joined.key, joined.primer.codec, error=error, kind="failed")


class ManyBoarded(Exception):
    """Some of many products are missing: their flights are under way, to be waited for before asking again."""

    def __init__(self, flights: list[tuple[flight.Flight, Callable[[Outcome], bool]]]) -> None:
        self.flights = flights


def try_many(asked: Sequence[str], errors: str, landed: Landed) -> dict[str, Any]:
    """Return many products, taking of those that are missing what has landed.

    Raises:
        ManyBoarded: some are missing; they are being computed now.
    """
    if errors not in ("raise", "return", "skip"):
        raise ValueError(f"errors must be 'raise', 'return' or 'skip', not {errors!r}.")
    results: dict[str, Any] = {}
    failed: dict[str, BaseException] = {}
    parsed: dict[str, Key] = {}
    for text in dict.fromkeys(asked):
        try:
            parsed[text] = registry.key(text)
        except KckFlowError as error:
            failed[text] = error
    stocks = {
        text: (key, *found) for text, key in parsed.items() if (found := counted.counted(key)) is not None
    }
    for text, told in zip(stocks, counted.entries(list(stocks.values())) if stocks else (), strict=True):
        del parsed[text]
        if isinstance(told, Exception):
            failed[text] = told
        else:
            results[text] = told.value
    windows = {text: (key, of) for text, key in parsed.items() if (of := framed.framed(key)) is not None}
    away: list[tuple[flight.Flight, Callable[[Outcome], bool]]] = []
    for text, (key, _) in list(windows.items()):
        landed_frame = landed.outcomes.get(key)
        if landed_frame is not None and landed_frame.error is not None:
            failed[text] = ones_own(landed_frame.error)
            del parsed[text], windows[text]
    asked_frames = framed.entries(list(windows.values()), patient=not read.boarding.get()) if windows else ()
    for text, told in zip(windows, asked_frames, strict=True):
        del parsed[text]
        if isinstance(told, framed.UnderWay):
            away.append((told.trip, told.trip.answers))
        elif isinstance(told, Exception):
            failed[text] = told
        else:
            results[text] = told.value
    for text, key in list(parsed.items()):
        flow, process = flows.counted(key), registry.primers.get(key.key_base)
        if flow is not None or isinstance(process, Process):
            del parsed[text]
            try:
                if flow is not None:
                    results[text] = flows.entry(key, flow).value
                elif isinstance(process, Process):
                    results[text] = processes.entry(key, process).value
            except Exception as error:
                failed[text] = error
    if not landed.outcomes and frame.current() is None:
        results.update(_fresh_many(parsed))
    rows = _stored_many({text: key for text, key in parsed.items() if text not in results})
    ask = read.Ask(None, None, None)
    missing: dict[str, tuple[Key, Primer, str, Stored | None]] = {}
    alone: list[str] = []
    for text, (primer, alias, context, stored) in rows.items():
        key = parsed[text]
        verdict, value_text = judge(primer, key, stored)
        if verdict is not MISSING and stored is not None:
            results[text] = read.serve(key, primer, alias, context, stored, value_text, verdict, True)
        elif primer is not None and key in landed.outcomes:
            try:
                results[text] = read.conclude(key, primer, stored, ask, True, landed.outcomes[key])
            except Exception as error:
                failed[text] = error
        elif primer is not None and primer.prime_on_cache_miss and _flies(alias, context):
            missing[text] = key, primer, alias, stored
        else:
            alone.append(text)
    if missing or away:
        raise ManyBoarded([*_board(missing.values()), *away])
    for text in alone:
        try:
            results[text] = read.answer(parsed[text], ask, value_only=True)
        except Exception as error:
            failed[text] = error
    ordered = {text: results[text] for text in dict.fromkeys(asked) if text in results}
    wrong = {text: failed[text] for text in dict.fromkeys(asked) if text in failed}
    if wrong and errors == "raise":
        raise SomeFailed(ordered, wrong)
    if wrong and errors == "return":
        return {text: results[text] if text in results else failed[text] for text in dict.fromkeys(asked)}
    return ordered


def _fresh_many(parsed: dict[str, Key]) -> dict[str, Any]:
    """Return those of many products that may be served as they are, in one narrow statement for each database."""
    groups: dict[str, dict[Key, list[str]]] = {}
    for text, key in parsed.items():
        primer = registry.primers.get(key.key_base)
        if primer is not None and not primer.always_fresh:
            # Two spellings of one key are one row, and two answers, each a copy of its own.
            groups.setdefault(spread.alias_of(primer), {}).setdefault(key, []).append(text)
    results: dict[str, Any] = {}
    for alias, spellings in groups.items():
        primers = {key.key_base: registry.primers[key.key_base] for key in spellings}
        probe = any(primer.probes or primer.name in read.sourced for primer in primers.values())
        session = caller(alias)
        if reach.is_lost(alias):
            continue
        try:
            with reach.bounded(session.connection):
                found = products.fresh_many(session, spellings, probe=probe)
        except (OperationalError, InterfaceError):
            if session.connection.in_atomic_block:
                raise
            continue  # the long way reconnects, or says what is wrong
        for key, texts in spellings.items():
            version, value_text = found.get(key, (0, ""))
            primer = primers[key.key_base]
            if version == primer.version:
                tallies.note(alias, key.key_base, tallies.FRESH)
                if primer.max_entries is not None:
                    behind.note_read(key, alias)
                results.update((text, primer.codec.decode(value_text)) for text in texts)
    return results


def _flies(alias: str, context: str) -> bool:
    return context == OPEN and frame.current() is None and not is_dirty(alias)


def _board(
    missing: Iterable[tuple[Key, Primer, str, Stored | None]],
) -> list[tuple[flight.Flight, Callable[[Outcome], bool]]]:
    """Board the flights of all misses at once, in digest order: two callers meet in the same order."""
    flights = []
    for key, primer, alias, stored in sorted(missing, key=lambda one: one[0].digest):
        wait = primer.wait_seconds(conf.WAIT)
        joined, new = flight.board(primer, key, alias, reason="miss", wait=wait)
        flights.append((joined, read.for_reader(joined, new, stored, alias) or read.never))
        if new:
            flight.depart(joined)
            behind.tidy(alias)
    return flights


def _stored_many(parsed: dict[str, Key]) -> dict[str, tuple[Primer | None, str, str, Stored | None]]:
    """Read all at once: one statement for each database."""
    groups: dict[str, dict[str, Key]] = {}
    for text, key in parsed.items():
        groups.setdefault(spread.alias_of(registry.primers.get(key.key_base)), {})[text] = key
    found: dict[str, tuple[Primer | None, str, str, Stored | None]] = {}
    for alias, members in groups.items():
        context = context_of(alias)
        primers = {text: registry.primers.get(key.key_base) for text, key in members.items()}
        probe = any(
            primer is None or primer.probes or primer.name in read.sourced for primer in primers.values()
        )
        changes = any(primer is not None and primer.augments for primer in primers.values())

        def ask(
            alias: str = alias,
            digests: list[UUID] = [key.digest for key in members.values()],  # noqa: B006, B008
            probe: bool = probe,
            changes: bool = changes,
            dirty: bool = context == ATOMIC,
        ) -> dict[str, Stored]:
            limit = conf.PENDING_LIMIT
            return products.read_many(
                caller(alias), digests, probe=probe, changes=changes, dirty=dirty, limit=limit
            )

        rows = reach.once_more(alias, context == OPEN, f"{len(members)} products", ask)
        for text, key in members.items():
            stored, primer = rows.get(str(key)), primers[text]
            if stored is not None and stored.sourced and not probe and primer is not None:
                read.sourced.add(primer.name)
                return _stored_many(parsed)
            if stored is not None and context == TEST:
                stored.dirty = True
            if stored is not None and (primer is None or not primer.augments):
                stored.changes = None
            found[text] = (primer, alias, context, stored)
    return found
