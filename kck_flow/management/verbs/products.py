"""Products by hand: ``keys``, ``get``, ``set``, ``unset``, ``invalidate``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from ... import key as keys
from ...cache import counted
from ...cache.facade import Cache
from ...cache.listed import servable, state_of
from ...cache.verdict import judge
from ...conf import conf
from ...entry import Entry
from ...errors import KckFlowError, NotPrimed, UnknownPrimer
from ...key import Key
from ...primer import UNSET, Primer
from ...registry import registry
from ...store import families, listings
from ...store import products as entries
from ...store.listings import Listed
from ...store.refreshes import instant
from ...store.session import Session
from .. import words
from ..arguments import (
    Options,
    Verb,
    add_database,
    add_format,
    add_limit,
    add_noinput,
    add_product,
    any_key,
    failed,
    family,
    is_action,
    known_key,
    params_of,
    session_of,
    sessions,
    unknown,
    usage,
)
from ..console import DONE, FAILED, PARTLY, Console
from ..tables import Column, Row, as_json

# Whoever types a command waits for its answer: when the process ends, so does the compute.
A_DAY = 86_400.0
STATES = ("fresh", "stale", "computing", "failed", "empty")
VALUES = "A VALUE is JSON (5, true, null, [1, 2], '{\"a\": 1}'); what does not parse as JSON is taken as a text: hello."

# -- keys -------------------------------------------------------------------------------------------------------------

NAMES = (
    "key",
    "kind",
    "value",
    "state",
    "age",
    "version",
    "computed_at",
    "soft_expires_at",
    "hard_expires_at",
    "bytes",
    "running",
    "due_at",
    "attempts",
    "parked",
    "error",
    "waiting_changes",
)
PRIMER_NAMES = (
    "name", "key", "kind", "label", "schedule", "soft_expire", "hard_expire", "products", "bytes", "paused", "version",
    "declared", "database",
)  # fmt: skip


def list_products(session: Session, found: Iterator[Listed]) -> Iterator[Row]:
    """Yield a row for each listed product; values with changes on their way are shown with them."""
    for row in found:
        primer = registry.primers.get(row.key_base)
        live = _live(row, primer)
        yield {
            "key": row.key,
            "kind": _kind(primer),
            "value": live["value"] if live is not None else _value(session, row, primer),
            "state": live["state"] if live is not None else state_of(row),
            "age": max(row.now - row.computed_at, 0.0)
            if row.computed_at is not None and row.state != "unset"
            else None,
            "version": row.version,
            "computed_at": instant(row.computed_at),
            "soft_expires_at": instant(row.soft_expires_at),
            "hard_expires_at": instant(row.hard_expires_at),
            "bytes": row.bytes,
            "running": row.running,
            "due_at": instant(row.due_at),
            "attempts": row.attempts,
            "parked": row.parked_at is not None,
            "error": row.last_error.partition("\n")[0] if row.attempts else "",
            "waiting_changes": row.changes,
            "next": _next(row),
            "served": live["state"] == "fresh" if live is not None else servable(row),
        }


def _live(row: Listed, primer: Primer | None) -> dict[str, Any] | None:
    """Return what a captured stock holds: where it is recorded by a schedule, it has a slot, and nothing stored."""
    of_stock = counted.captured(primer)
    if of_stock is None:
        return None
    try:
        return counted.told(registry.key(row.key), *of_stock)
    except KckFlowError:  # from before its parameters were changed
        return None


def _kind(primer: Primer | None) -> str:
    if primer is None:
        return "by hand"
    return "action" if is_action(primer) else "product"


def _value(session: Session, row: Listed, primer: Primer | None) -> Any:
    if not servable(row):
        return None  # what is not served is not shown as if it were
    codec = primer.codec if primer is not None else Primer.codec
    if row.changes and primer is not None and primer.augments and row.changes <= conf.PENDING_LIMIT:
        key = registry.key(row.key)
        stored = entries.read(
            session, key.digest, probe=True, changes=True, dirty=False, limit=conf.PENDING_LIMIT
        )
        verdict, text = judge(primer, key, stored)
        return codec.decode(text) if text is not None and verdict != "missing" else None
    if row.value is not None:
        return codec.decode(row.value)
    return None


def _next(row: Listed) -> str:
    if row.running:
        return "running"
    if row.parked_at is not None:
        return "parked"
    if row.due_at is None:
        return ""
    if row.retry_at is not None and row.retry_at > row.now:
        return f"retry {row.attempts} {words.ahead(max(row.due_at, row.retry_at) - row.now)}"
    return words.ahead(row.due_at - row.now) if row.due_at > row.now else "queued"


def _add_keys(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prefix", nargs="?", default="", metavar="PREFIX", help="Only keys that begin so.")
    parser.add_argument("--primers", action="store_true", help="List what is declared instead: the primers.")
    parser.add_argument("--state", choices=STATES, help="Only products in this state.")
    parser.add_argument("--all", action="store_true", help="With those that were unset, and our own records.")
    add_product(parser)
    add_limit(parser, 1000)
    add_database(parser)
    add_format(parser)


def _keys(console: Console, options: Options) -> int:
    if options["primers"]:
        return _primers(console, options)
    if options["product"]:
        key_base = _stored_family(options["product"], options)
    else:
        key_base = None
    states: dict[str, int] = {}
    cut = [False]

    def rows() -> Iterator[Row]:
        left = options["limit"] or None
        for session in sessions(options):
            found = listings.entries(
                session, key_base=key_base, prefix=options["prefix"], hidden=options["all"]
            )
            for row in list_products(session, found):
                if options["state"] and row["state"] != options["state"]:
                    continue
                if left is not None and left == 0:
                    cut[0] = True
                    return
                left = left - 1 if left is not None else None
                states[row["state"]] = states.get(row["state"], 0) + 1
                yield row

    columns = [
        Column("PRODUCT", lambda row: row["key"]),
        Column("KIND", lambda row: row["kind"]),
        Column("VALUE", _shown, right=True, stretch=True),
        Column("AGE", lambda row: words.span(row["age"]), right=True),
        Column(
            "STATE", lambda row: row["state"] if row["state"] in ("fresh", "empty") else row["state"].upper()
        ),
        Column("NEXT", lambda row: row["next"]),
    ]
    narrowed = options["prefix"] or options["product"] or options["state"]
    found = _named(rows(), NAMES) if options["format"] != "table" else rows()
    console.listing(
        options["format"],
        columns,
        found,
        names=NAMES,
        empty=f"No products {'like that' if narrowed else 'are stored yet'}. Declared: manage.py kck keys --primers",
    )
    if states:
        summary = " · ".join(
            [
                words.count(sum(states.values()), "product"),
                *(f"{states[state]:,} {state}" for state in STATES if state in states),
            ]
        )
        (console.write if options["format"] == "table" else console.note)(summary)
    if cut[0]:
        console.note(f"Cut after {options['limit']:,}: there are more. All of them: --limit 0")
    return DONE


def _shown(row: Row) -> str:
    if row["value"] is not None:
        return words.value(row["value"], 40)
    # None is a value; one too long for a listing shows its size; what is not served shows nothing.
    return _long(row) if row["served"] else "-"


def _long(row: Row) -> str:
    return f"({words.size(row['bytes'])})" if row["bytes"] else "none"


def _named(rows: Iterator[Row], names: tuple[str, ...]) -> Iterator[Row]:
    """Leave out of rows what only people are shown."""
    for row in rows:
        yield {name: row[name] for name in names}


def _stored_family(name: str, options: Options) -> str:
    """Return the key base of a family that is declared or stored. Raises CommandError."""
    if name in registry.primers or any(name in listings.families(session) for session in sessions(options)):
        return name
    family(name)
    return name


def list_primers(sessions: list[Session]) -> Iterator[Row]:
    """Yield a row for each declared primer, by name."""
    stored = {session.alias: listings.families(session) for session in sessions}
    paused = {session.alias: families.paused(session) for session in sessions}
    for primer in registry.unique():
        alias = session_of(primer.name).alias
        if alias not in stored:
            continue
        counts = [stored[alias].get(base, (0, 0)) for base in primer.key_base_list]
        note = paused[alias].get(primer.name)
        yield {
            "name": primer.name,
            "key": ", ".join(keys.usage(name, primer.parameters) for name in primer.key_base_list),
            "kind": _kind(primer),
            "label": primer.text,
            "schedule": str(primer.schedule.describe()) if primer.schedule is not None else None,
            "soft_expire": primer.soft_expire,
            "hard_expire": primer.hard_expire,
            "products": sum(count for count, _ in counts),
            "bytes": sum(size for _, size in counts),
            "paused": note is not None,
            "version": primer.version,
            "declared": primer.where(),
            "database": alias,
            "note": note or "",
        }


def _primers(console: Console, options: Options) -> int:
    def rows() -> Iterator[Row]:
        for row in list_primers(sessions(options)):
            if row["name"].startswith(options["prefix"]) and options["product"] in (None, row["name"]):
                yield row

    if options["product"]:
        family(options["product"])
    columns = [
        Column("PRIMER", lambda row: row["key"]),
        Column("KIND", lambda row: row["kind"]),
        Column("PRODUCTS", lambda row: f"{row['products']:,}", right=True),
        Column("STALE AFTER", lambda row: _lifetime(row["soft_expire"]), right=True),
        Column("GONE AFTER", lambda row: _lifetime(row["hard_expire"]), right=True),
        Column("SCHEDULE", lambda row: "paused" if row["paused"] else row["schedule"] or "-"),
        Column("DECLARED IN", lambda row: _short_path(row["declared"])),
        Column("WHAT IT IS", lambda row: row["label"], stretch=True),
    ]
    found = list(rows())
    console.listing(
        options["format"],
        columns,
        _named(iter(found), PRIMER_NAMES) if options["format"] != "table" else found,
        names=PRIMER_NAMES,
        footer=words.count(len(found), "primer"),
        empty="No primers found: put them in <app>/primers.py, or run: manage.py kck init APP",
    )
    return DONE


def _lifetime(duration: Any) -> str:
    return words.span(duration.total_seconds()) if duration is not None else "never"


def _short_path(place: str) -> str:
    return "/".join(place.split("/")[-2:])


# -- get --------------------------------------------------------------------------------------------------------------

ENTRY_NAMES = ("key", "value", "state", "version", "age", "computed_at", "soft_expires_at", "hard_expires_at")


def _add_get(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", metavar="KEY", help="Its key, for instance delay_board/JFK.")
    parser.add_argument(
        "--no-compute", action="store_true", help="Only what is stored; exit 1 where nothing is."
    )
    parser.add_argument(
        "--wait",
        type=words.seconds,
        default=A_DAY,
        metavar="DURATION",
        help="How long to wait for a compute (as long as it takes).",
    )
    parser.add_argument(
        "--max-age", type=words.seconds, metavar="DURATION", help="Compute anew what is older."
    )
    parser.add_argument(
        "--at",
        type=words.aware,
        metavar="TIME",
        help="What it held then, from its records: 2026-03-01, or with a time and an offset.",
    )
    add_format(parser, "value")


def _get(console: Console, options: Options) -> int:
    key = any_key(options["key"])
    prime = False if options["no_compute"] else None
    if options["at"] is not None:
        return _get_at(console, options, key)
    try:
        entry = Cache.get_instance().get_entry(
            key, prime_on_cache_miss=prime, wait=options["wait"], max_age=options["max_age"]
        )
    except UnknownPrimer:
        raise usage(unknown(key)) from None
    except NotPrimed as error:
        raise failed(str(error)) from None
    row = entry_row(entry)
    if options["format"] == "value":
        console.raw(words.spell_value(entry.value) + "\n")
    elif options["format"] == "json":
        # One product is one object, not a list of one.
        console.raw(as_json(row) + "\n")
    elif options["format"] == "csv":
        console.listing("csv", [], [row], names=ENTRY_NAMES)
    else:
        for name in ENTRY_NAMES:
            console.write(f"{name:<16} {words.printable(_said(name, row[name]))}")
    if entry.state != "fresh":
        console.note(f"{entry.key} is {entry.state}. Why: manage.py kck explain {entry.key}", level=2)
    return DONE


def _get_at(console: Console, options: Options, key: Key) -> int:
    """Print what a product held at an instant."""
    at = options["at"]
    try:
        value = Cache.get_instance().value_at(key, at)
    except UnknownPrimer:
        raise usage(unknown(key)) from None
    except NotPrimed as error:
        raise failed(str(error)) from None
    if options["format"] == "value":
        console.raw(words.spell_value(value) + "\n")
    elif options["format"] == "json":
        console.raw(as_json({"key": str(key), "at": at, "value": value}) + "\n")
    else:
        columns = [
            Column("KEY", lambda row: row["key"]),
            Column("AT", lambda row: row["at"].isoformat()),
            Column("VALUE", lambda row: words.value(row["value"], 200), stretch=True),
        ]
        console.listing(options["format"], columns, [{"key": str(key), "at": at, "value": value}],
                        names=("key", "at", "value"))  # fmt: skip
    return DONE


def _said(name: str, found: Any) -> str:
    if name == "age":
        return words.span(found.total_seconds()) if found is not None else "-"
    if name == "value":
        return words.value(found, 200)
    if name.endswith("_at"):
        return f"{words.local(found):%Y-%m-%d %H:%M:%S %Z}" if found is not None else "never"
    return str(found)


def entry_row(entry: Entry) -> Row:
    """Return an entry as a row of a listing."""
    return {name: getattr(entry, name) for name in ENTRY_NAMES}


# -- set, unset, invalidate -------------------------------------------------------------------------------------------


def _add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", metavar="KEY", help="Its key; one without a primer is kept as it is.")
    parser.add_argument("value", metavar="VALUE", help=f"{VALUES} A single - reads it from stdin.")
    parser.add_argument("--text", action="store_true", help="Take VALUE as a text even where it is JSON.")
    parser.add_argument(
        "--soft",
        type=words.duration_or_never,
        default=UNSET,
        metavar="DURATION",
        help="Stale after: 90s, 5m, 12h, 7d or never.",
    )
    parser.add_argument(
        "--hard",
        type=words.duration_or_never,
        default=UNSET,
        metavar="DURATION",
        help="Served no longer after; likewise.",
    )
    parser.add_argument(
        "--check-version",
        type=words.at_least(0),
        metavar="N",
        help="Only over version N; 0: only where nothing is stored.",
    )


def _set(console: Console, options: Options) -> int:
    key = any_key(options["key"])
    text = sys.stdin.read() if options["value"] == "-" else options["value"]
    found = text if options["text"] else words.read_value(text)
    soft, hard = options["soft"], options["hard"]
    if isinstance(soft, timedelta) and isinstance(hard, timedelta) and soft > hard:
        raise usage(f"--soft {soft} is later than --hard {hard}: a value goes stale before it goes.")
    entry = Cache.get_instance().set(
        key,
        found,
        check_version=options["check_version"],
        soft_expire=options["soft"],
        hard_expire=options["hard"],
    )
    if console.verbosity:
        console.write(f"{entry.key} is set: version {entry.version}, {_until(entry)}.")
    return DONE


def _until(entry: Entry) -> str:
    expiries = (("fresh", entry.soft_expires_at), ("served", entry.hard_expires_at))
    told = [
        f"{what} for {words.span((at - entry.computed_at).total_seconds())}"
        for what, at in expiries
        if at is not None and entry.computed_at is not None
    ]
    return ", ".join(told) or "never expires"


def _add_unset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "keys", nargs="+", metavar="KEY", help="Keys whose values are removed; their versions go on."
    )


def _unset(console: Console, options: Options) -> int:
    return _each(
        console,
        [known_key(text) for text in options["keys"]],
        Cache.get_instance().unset,
        "was unset",
        "held no value",
    )


def _each(console: Console, found: list[Key], change: Callable[[str], Any], did: str, nothing: str) -> int:
    """Change keys one by one; returns 3 where some could not be, 1 where none."""
    wrong = 0
    for key in found:
        try:
            changed = change(key)
        except KckFlowError as error:
            wrong += 1
            console.stderr.write(str(error))
            continue
        if console.verbosity:
            console.write(f"{key} {did if changed else nothing}.")
    return DONE if not wrong else FAILED if wrong == len(found) else PARTLY


def _add_invalidate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("keys", nargs="*", metavar="KEY", help="Keys whose values may be served no longer.")
    add_product(parser, "All of this family instead; with --param, those with these parameters.")
    parser.add_argument(
        "--param", action="append", default=[], metavar="NAME=VALUE", help="With --product; may be repeated."
    )
    add_noinput(parser)


def _invalidate(console: Console, options: Options) -> int:
    if bool(options["keys"]) == bool(options["product"]) or (options["param"] and not options["product"]):
        raise usage(
            "Say what to invalidate: KEY …, or --product NAME [--param NAME=VALUE …], one of the two."
        )
    if options["keys"]:
        return _each(
            console,
            [known_key(text) for text in options["keys"]],
            Cache.get_instance().invalidate,
            "is invalidated",
            "held no value",
        )
    primer = family(options["product"])
    params = params_of(primer, options["param"])
    held = sum(
        count
        for base, (count, _) in listings.families(session_of(primer.name)).items()
        if base == primer.name
    )
    if not console.confirm(f"Invalidate up to {words.count(held, 'product')} of {primer.name!r}?"):
        raise failed("Nothing was invalidated.")
    hit = Cache.get_instance().invalidate(key_base=primer.name, **params)
    if console.verbosity:
        console.write(
            f"{words.count(hit, 'product')} of {primer.name} {'is' if hit == 1 else 'are'} invalidated."
        )
    return DONE


VERBS = (
    Verb(
        "keys",
        "List products with their values, ages and states, or with --primers what is declared.",
        _add_keys,
        _keys,
    ),
    Verb("get", "Print one product's value, computing it where nothing may be served.", _add_get, _get),
    Verb("set", "Store a value by hand; what depends on it becomes stale.", _add_set, _set, more=VALUES),
    Verb("unset", "Remove values.", _add_unset, _unset),
    Verb(
        "invalidate",
        "Make values unservable: what is asked for next is computed.",
        _add_invalidate,
        _invalidate,
    ),
)
