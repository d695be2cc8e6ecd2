"""``check``: is it set up, is anything older than promised, does anybody work, does augment equal compute."""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.apps import apps
from django.core import checks
from django.db import DatabaseError, connections, transaction

from ... import clock, spread
from ... import conf as confs
from ...cache import compute, flows
from ...cache.listed import servable, state_of
from ...cache.verdict import MISSING, judge
from ...changes import fold, rows, triggers
from ...changes import gaps as capturing
from ...conf import conf
from ...entry import Change
from ...errors import DeclarationError, KckFlowError, NotPrimed
from ...key import Key
from ...primer import Primer
from ...refresh import plan
from ...registry import registry
from ...store import families, gaps, install, listings, private, products, server, workers
from ...store.listings import Listed
from ...store.refreshes import instant
from ...store.session import Session, caller, loads
from ...streams import retention
from .. import words
from ..arguments import (
    Options,
    Verb,
    add_database,
    add_format,
    aliases,
    family,
    is_action,
    known_key,
    usage,
)
from ..console import DONE, FAILED, Console
from ..tables import Column, Row
from .balancing import balance
from .framing import lag
from .watching import worker_row

OK, WARNING, WRONG = "ok", "warning", "wrong"
SIGNS = {OK: "✓", WARNING: "!", WRONG: "✗"}
SKEW_SECONDS = 1.0
OLDEST_SERVER = 140_000
# From how long a transaction, and how many deltas, are worth a word: a read of a stock passes over what waits for it.
OPEN_SECONDS, DELTAS = 600.0, 100_000
SHUFFLES = 5
FINDING_NAMES = ("what", "state", "text", "next")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Attributes:
        state: ``ok``, ``warning`` (worth knowing) or ``wrong`` (the check fails).
        next: One next step; empty where all is well.
    """

    what: str
    state: str
    text: str
    next: str = ""


# -- --setup ----------------------------------------------------------------------------------------------------------


def setup(databases: Sequence[str]) -> Iterator[Finding]:
    """Look at what must be so before products can be trusted: settings, server, tables, declarations, workers."""
    wrong = confs.problems()
    if wrong:
        yield Finding("settings", WRONG, " ".join(wrong), "Correct settings.KCK_FLOW")
    else:
        yield Finding("settings", OK, "KCK_FLOW is well-formed")
    tables_there = True
    for alias in databases:
        named = f" of {alias!r}" if len(databases) > 1 else ""
        if connections[alias].vendor != "postgresql":
            yield Finding(
                f"database{named}",
                WRONG,
                f"It is {connections[alias].display_name}; products are kept in PostgreSQL only",
                "Use django.db.backends.postgresql, or name a PostgreSQL alias in KCK_FLOW['DATABASES']",
            )
            tables_there = False
            continue
        try:
            for finding in _of_server(caller(alias), alias, named):
                tables_there = tables_there and not (
                    finding.what.startswith("tables") and finding.state == WRONG
                )
                yield finding
        except DatabaseError as error:
            tables_there = False
            text = (str(error).strip().splitlines() or [type(error).__name__])[0]
            yield Finding(
                f"database{named}",
                WRONG,
                f"It does not answer: {text}",
                f"Start it, or correct DATABASES[{alias!r}]",
            )
    yield from _declared()
    if tables_there:
        yield from _of_workers(databases)


def _of_server(session: Session, alias: str, named: str) -> Iterator[Finding]:
    facts = server.facts(session)
    if facts.version < OLDEST_SERVER:
        yield Finding(
            f"database{named}", WRONG, f"PostgreSQL {facts.text} is too old", "Use PostgreSQL 14 or newer"
        )
    else:
        yield Finding(
            f"database{named}", OK, f"PostgreSQL {facts.text.split()[0]}, database {facts.database!r}"
        )
    driver: Any = connections[alias].Database  # type: ignore[attr-defined]
    yield Finding(f"driver{named}", OK, f"{driver.__name__} {driver.__version__.split()[0]}")
    if facts.pooled:
        yield Finding(
            f"pooler{named}", WARNING, "A pooler stands before the server: workers cannot be woken, and look every "
            f"{conf.POLL_SECONDS:g} s", "Give workers a direct connection, or live with the pause",
        )  # fmt: skip
    else:
        yield Finding(f"pooler{named}", OK, "The connection is direct: workers are woken at once")
    skew = abs(clock.now().timestamp() - facts.seconds)
    if skew > SKEW_SECONDS and not clock.is_moved():
        yield Finding(
            f"clock{named}", WARNING, f"This machine and the server differ by {words.span(skew)}: ages "
        "shown here are off by as much",
            "Have both follow NTP; the server's clock decides when products expire",
        )  # fmt: skip
    else:
        yield Finding(
            f"clock{named}", OK, f"This machine and the server agree within {words.span(SKEW_SECONDS)}"
        )
    lacking = server.missing_columns(session)
    if lacking:
        shown = ", ".join(
            f"{table} ({', '.join(columns)})" if columns else table
            for table, columns in sorted(lacking.items())
        )
        database = "" if alias == "default" else f" --database {alias}"
        yield Finding(f"tables{named}", WRONG, f"Missing: {shown}", f"manage.py migrate{database}")
        return
    yield Finding(f"tables{named}", OK, "All tables are there")
    bare = install.missing(session)
    if bare:
        yield Finding(
            f"options{named}",
            WRONG,
            f"Storage options are missing on {', '.join(sorted(bare))}",
            "manage.py migrate",
        )
    else:
        yield Finding(f"options{named}", OK, "Storage options are in place")
    functions = install.missing_functions(session)
    if functions:
        yield Finding(
            f"functions{named}",
            WRONG,
            f"Missing or of another version: {', '.join(functions)}",
            "manage.py migrate",
        )
    else:
        yield Finding(f"functions{named}", OK, "Functions are in place")
    yield _capture(alias, named)
    yield from _events(alias, named)
    yield _backlog(session, named)
    yield from _watermarks(session, alias, named)
    yield from _gaps(session, named)
    beaten = server.beaten_indexes(session)
    if beaten:
        yield Finding(
            f"indexes{named}", WRONG, f"{', '.join(beaten)} covers a column that leases are beaten in: each "
        "beat rewrites the index",
            f"Drop it: DROP INDEX {beaten[0]}",
        )  # fmt: skip
    else:
        yield Finding(f"indexes{named}", OK, "No index is in the way of the leases")
    orphans = listings.slots_without_primer(session, plan.known_bases())
    if orphans:
        shown = ", ".join(f"{name} ({count:,})" for name, count in orphans)
        yield Finding(
            f"queue{named}",
            WARNING,
            f"Due, and declared nowhere here: {shown}",
            f"manage.py kck refreshes --clear '{orphans[0][0]}'",
        )
    else:
        yield Finding(f"queue{named}", OK, "Everything that is due is declared")


def _capture(alias: str, named: str) -> Finding:
    wrong = triggers.missing(alias)
    if wrong:
        return Finding(
            f"capture{named}",
            WRONG,
            f"Triggers are missing, disabled or of another version on {', '.join(wrong)}: each read counts",
            "manage.py migrate",
        )
    unwatched = rows.missing(alias)
    if unwatched:
        return Finding(
            f"capture{named}",
            WRONG,
            f"Triggers are missing, disabled or of another version on {', '.join(unwatched)}: what update(), SQL and "
            "other programs write there does not reach the products that depend on it",
            "manage.py migrate",
        )
    return Finding(f"capture{named}", OK, "Triggers are in place")


def _events(alias: str, named: str) -> Iterator[Finding]:
    for flow, model, why in triggers.unkept(alias):
        what, _, todo = why.partition(": ")
        yield Finding(f"events{named}", WRONG, f"{flow}: {model} keeps no event: {what}", todo)


def _watermarks(session: Session, alias: str, named: str) -> Iterator[Finding]:
    """Whether streams can know up to when they are complete."""
    try:
        read = sorted({stream.name for _, stream in retention.consumers() if stream.database == alias})
    except DeclarationError as error:
        yield Finding(f"streams{named}", WRONG, str(error), "See: manage.py check")
        return
    if not read:
        return
    hidden, role = server.hidden_sessions(session)
    if hidden:
        yield Finding(
            f"streams{named}",
            WARNING,
            f"{words.count(hidden, 'session')} of other roles cannot be seen into: what they write may come behind the "
            f"watermark of {', '.join(read)}",
            f'GRANT pg_read_all_stats TO "{role}"',
        )
    else:
        yield Finding(f"streams{named}", OK, "Transactions that are running can be seen")


def _backlog(session: Session, named: str) -> Finding:
    held = server.oldest_snapshot(session, DELTAS + 1)
    what = f"backlog{named}"
    if held.seconds > OPEN_SECONDS:
        _, prepared, name = held.what.partition("prepared transaction ")
        return Finding(
            what,
            WARNING,
            f"A transaction has been open for {words.span(held.seconds)} ({held.what}): what is folded meanwhile "
            "cannot be vacuumed, and reads of busy stocks slow down",
            f"ROLLBACK PREPARED {name}"
            if prepared
            else f"End it: SELECT pg_terminate_backend({held.what.split()[-1]})",
        )
    if held.deltas > DELTAS:
        return Finding(
            what,
            WARNING,
            f"More than {DELTAS:,} changes wait to be folded, and each read adds up those of its key",
            "Run a worker: manage.py kck worker",
        )
    return Finding(what, OK, "What is written is folded in time")


def _gaps(session: Session, named: str) -> Iterator[Finding]:
    """Tell which flows have missed transitions, and when last."""
    capturing.look(session)
    by_flow: dict[str, list[gaps.Missed]] = {}
    for one in gaps.known(session):
        by_flow.setdefault(one.key_base, []).append(one)
    for name, missed in sorted(by_flow.items()):
        last = [(instant(one.start), instant(one.end)) for one in missed]
        is_open = missed[-1].end is None
        yield Finding(
            f"gaps{named}",
            WRONG if is_open else WARNING,
            f"{name}: {flows.missed_text(last)}",
            "manage.py migrate" if is_open else "Its windows of then are shown as not complete",
        )


def _declared() -> Iterator[Finding]:
    problems = [
        found
        for found in checks.run_checks(tags=["kck"])
        if found.level >= checks.WARNING and found.id != "kck_flow.E004"
    ]
    for found in problems:
        state = WRONG if found.level >= checks.ERROR else WARNING
        yield Finding(
            f"declarations ({found.id})", state, found.msg, found.hint or "manage.py check --tag kck"
        )
    names = registry.unique()
    if not names:
        own = [
            config.label
            for config in apps.get_app_configs()
            if not config.name.startswith(("django.", "kck_flow"))
        ]
        example = own[0] if own else "<app>"
        yield Finding(
            "primers",
            WRONG,
            "No primers found: put them in <app>/primers.py",
            f"or run: manage.py kck init {example}",
        )
    elif not problems:
        yield Finding("primers", OK, f"{words.count(len(names), 'primer')} declared")


def _of_workers(databases: Sequence[str]) -> Iterator[Finding]:
    living = sum(workers.living(caller(alias), conf.WORKER_SEEN_SECONDS) for alias in databases)
    timed = [primer.name for primer in registry.unique() if primer.schedule is not None]
    if living:
        yield Finding("workers", OK, f"{words.count(living, 'worker')} running")
    elif timed:
        yield Finding(
            "workers", WARNING, f"None is running: {words.count(len(timed), 'schedule')} "
        f"({', '.join(timed[:3])}{' …' if len(timed) > 3 else ''}) "
            "will not be kept", "manage.py kck worker",
        )  # fmt: skip
    else:
        yield Finding(
            "workers",
            OK,
            "None is running, and no schedule needs one: products are refreshed when they are read",
        )


# -- --workers --------------------------------------------------------------------------------------------------------


def look_at_workers(databases: Sequence[str], within: float) -> Iterator[Finding]:
    """Look whether somebody works: each worker seen within so many seconds, and at least one there."""
    found = [worker_row(alias, row) for alias in databases for row in workers.listed(caller(alias))]
    gone = {(alias, f"w{number}") for alias in databases for number in workers.dead(caller(alias))}
    for row in found:
        named = f"worker {row['id']}"
        seen = (
            f"{row['host']} pid {row['pid']}, seen {words.ahead(-row['silent_seconds'])}, mode {row['mode']}"
        )
        if (row["database"], row["id"]) in gone:
            yield Finding(
                named,
                WRONG,
                f"{seen}: it has died",
                "The next worker clears up after it: manage.py kck worker",
            )
        elif row["silent_seconds"] > within:
            yield Finding(
                named,
                WRONG,
                f"{seen}: no heartbeat for {words.span(row['silent_seconds'])}",
                f"Look at process {row['pid']} on {row['host']}",
            )
        else:
            yield Finding(named, OK, seen)
    if not found:
        yield Finding("workers", WRONG, "No worker is running", "manage.py kck worker")


# -- --stale ----------------------------------------------------------------------------------------------------------

STALE_NAMES = ("key", "state", "age", "promised", "late", "why", "next")


def late(databases: Sequence[str], now: datetime, *, grace: float = 0.0) -> Iterator[Row]:
    """Yield the products that are older than was promised, by more than ``grace`` seconds.

    Promised is: a value served is not past its soft expiry; one on a schedule was computed since the schedule's last
    instant; one that is wanted is computed when it is due. What is past its hard expiry and wanted by nobody is not
    served to anybody, hence not late.
    """
    for alias in databases:
        session = caller(alias)
        paused = families.paused(session)
        for row in listings.entries(session):
            found = _lateness(row, paused)
            if found is not None and found[0] > grace:
                lateness, why = found
                promised = (
                    row.soft_expires_at - row.computed_at
                    if row.soft_expires_at is not None and row.computed_at is not None
                    else None
                )
                yield {
                    "key": row.key,
                    "state": state_of(row),
                    "age": row.now - row.computed_at
                    if row.computed_at is not None and row.state != "unset"
                    else None,
                    "promised": promised,
                    "late": lateness,
                    "why": why,
                    "next": f"manage.py kck explain {row.key}",
                }


def _lateness(row: Listed, paused: dict[str, str]) -> tuple[float, str] | None:
    """Return by how many seconds a product is late, and why; None where it keeps what was promised."""
    primer = registry.primers.get(row.key_base)
    if primer is not None and is_action(primer):
        return None
    failing = f", failing: {row.last_error.partition(chr(10))[0][:120]}" if row.attempts else ""
    note = f"{', paused' if row.key_base in paused else ''}{failing}"
    found: list[tuple[float, str]] = []
    if servable(row):
        if row.soft_expires_at is not None:
            found.append((row.now - row.soft_expires_at, f"past its soft expiry{note}"))
        if row.pending == 1 and row.computed_at is not None:
            found.append((0.001, f"something it was made from has changed{note}"))
    if row.due_at is not None and not row.running and row.parked_at is None:
        # A slot that still waits for an instant gone by: that period was not served.
        why = (
            "not computed in its period"
            if row.nominal is not None and row.nominal <= row.now
            else "wanted, and not computed"
        )
        found.append((row.now - row.due_at, f"{why}{note}"))
    if row.parked_at is not None:
        found.append((row.now - row.parked_at, f"parked{failing}"))
    latest = max(found, default=None)
    return latest if latest is not None and latest[0] > 0 else None


# -- --augment --------------------------------------------------------------------------------------------------------

AUGMENT_NAMES = ("key", "state", "changes", "text", "stored", "computed")


@dataclass(frozen=True, slots=True)
class Compared:
    """An augmented product beside the same computed afresh, in one snapshot.

    Attributes:
        state: ``equal``, ``different``, ``skipped`` (nothing to compare) or ``failed`` (compute or augment raised).
        changes: How many changes were still to be folded in.
        text: Where they differ, or why there is nothing to compare.
    """

    key: Key
    state: str
    changes: int
    text: str
    augmented: Any = None
    computed: Any = None


def compare(primer: Primer, key: Key, *, seed: int = 0) -> Compared:
    """Compute an augmented product in a snapshot and compare it with what is stored, changes on their way folded in.

    Those changes are folded again in other orders (each row's own order kept): the result must be the same. Nothing is
    stored, nobody is told.
    """
    alias = spread.alias_of(primer)
    session = caller(alias)
    try:
        with transaction.atomic(using=alias):
            if not private.in_test_case():
                session.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            return _compare(session, primer, key, random.Random(seed))
    except NotPrimed as error:  # what it was made of is gone, as old events are
        return Compared(key, "skipped", 0, str(error))
    except KckFlowError as error:
        return Compared(key, "failed", 0, str(error))
    except DatabaseError:
        raise
    except Exception as error:  # the primer's own code: its fault is what we were asked about
        return Compared(key, "failed", 0, f"{type(error).__name__}: {error}")


def _compare(session: Session, primer: Primer, key: Key, shuffle: random.Random) -> Compared:
    stored = products.read(
        session, key.digest, probe=True, changes=True, dirty=False, limit=conf.PENDING_LIMIT
    )
    waiting = [tuple(one) for one in loads(stored.changes) or ()] if stored is not None else []
    if stored is None:
        return Compared(key, "skipped", 0, "nothing is stored")
    if len(waiting) > conf.PENDING_LIMIT:
        return Compared(
            key,
            "skipped",
            len(waiting),
            "more changes wait than a read applies: it is computed when next asked for",
        )
    changes = fold.fresh_changes(waiting)
    if judge(primer, key, replace(stored, changes=None))[0] == MISSING:
        return Compared(
            key, "skipped", len(changes), "what is stored is not served: it is computed when next asked for"
        )
    before = stored.value
    value = fold.apply(primer, key, before, changes)
    computed, _frame = compute.call(primer, key, snapshot=True)
    codec = primer.codec
    if not _equal(session, codec, value, computed):
        return Compared(key, "different", len(changes), difference(value, computed), value, computed)
    for number in range(SHUFFLES if len(changes) > 1 else 0):
        order = shuffled(changes, shuffle)
        other = fold.apply(primer, key, before, order)
        if not _equal(session, codec, other, value):
            return Compared(
                key,
                "different",
                len(changes),
                f"in another order (try {number + 1}): {difference(other, value)}",
                other,
                value,
            )
    return Compared(key, "equal", len(changes), "")


def _equal(session: Session, codec: Any, one: Any, other: Any) -> bool:
    """Whether two values are the same once stored: as jsonb compares them."""
    texts = [codec.encode(value) if value is not None else None for value in (one, other)]
    return bool(session.run("SELECT %s::jsonb IS NOT DISTINCT FROM %s::jsonb", texts)[0][0])


def shuffled(changes: Sequence[Change], shuffle: random.Random) -> list[Change]:
    """Return the changes in another order, those of one row still one after the other in their own."""
    rows: dict[Any, list[Change]] = {}
    for change in changes:
        rows.setdefault(_row_of(change), []).append(change)
    turns = [row for row, own in rows.items() for _ in own]
    shuffle.shuffle(turns)
    return [rows[row].pop(0) for row in turns]


def _row_of(change: Change) -> Any:
    if change.key is not None:
        return change.source, str(change.key)
    try:
        name = apps.get_model(change.source)._meta.pk.attname
        side = change.new if change.new is not None else change.old
        return change.source, side[name]
    except (LookupError, ValueError, KeyError):
        return change.source, None  # no row is known: the order is kept


def difference(one: Any, other: Any, path: str = "$") -> str:
    """Return where two values first differ: ``at $.late: augmented 12, computed 11``."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in [*one, *(name for name in other if name not in one)]:
            if name not in one or name not in other or one[name] != other[name]:
                if name not in one or name not in other:
                    return f"at {path}.{name}: {'computed' if name in other else 'augmented'} only"
                return difference(one[name], other[name], f"{path}.{name}")
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        for index, (left, right) in enumerate(zip(one, other, strict=False)):
            if left != right:
                return difference(left, right, f"{path}[{index}]")
        if len(one) != len(other):
            return f"at {path}: augmented has {len(one)} items, computed {len(other)}"
    return f"at {path}: augmented {words.value(one, 60)}, computed {words.value(other, 60)}"


def compared(chosen: Iterable[Key]) -> Iterator[Compared]:
    """Yield each product compared."""
    for key in chosen:
        yield compare(registry.primer(key.key_base), key)


def _augmented(text: str) -> list[Key]:
    """Return the products that an argument names: one, or all stored ones of a family. Raises CommandError."""
    if text in registry.primers or "/" not in text:
        primer = family(text)
        keys = [
            registry.key(row.key)
            for row in listings.entries(caller(spread.alias_of(primer)), key_base=text)
            if row.state != "unset"
        ]
    else:
        key = known_key(text)
        primer, keys = family(key.key_base), [key]
    if not primer.augments:
        raise usage(f'{primer.name!r} is not augmented: none of its edges says then="augment".')
    return keys


# -- the verb ---------------------------------------------------------------------------------------------------------


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--setup", action="store_true", help="Settings, server, tables, declarations, workers (the default)."
    )
    parser.add_argument("--stale", action="store_true", help="Products older than was promised.")
    parser.add_argument(
        "--grace",
        type=words.seconds,
        default=0.0,
        metavar="DURATION",
        help="With --stale: late by more than this (0).",
    )
    parser.add_argument(
        "--workers", action="store_true", help="Whether each worker gives signs of life, and there is one."
    )
    parser.add_argument(
        "--within",
        type=words.seconds,
        metavar="DURATION",
        help="With --workers: how old a sign may be (WORKER_SEEN_SECONDS).",
    )
    parser.add_argument(
        "--augment",
        metavar="KEY",
        help="Compute an augmented product, or all of a family, afresh and compare.",
    )
    parser.add_argument(
        "--balance",
        nargs="*",
        metavar="NAME",
        help="Count the rows of captured stocks and compare with what they hold; strike the balance of each process: "
        "what its stocks held, plus what came in, less what went out. All where no stock or process is named.",
    )
    parser.add_argument(
        "--lag",
        metavar="NAME",
        help="How far a time frame is behind its stream, or a topic behind its messages, and how many wait.",
    )
    parser.add_argument(
        "--at-most",
        type=words.seconds,
        metavar="DURATION",
        help="With --lag: exit 1 where it is more than this.",
    )
    add_database(parser)
    add_format(parser)


def _check(console: Console, options: Options) -> int:
    codes = []
    given = [name for name in ("setup", "stale", "workers", "augment", "lag") if options[name]]
    if options["balance"] is not None:
        given.append("balance")
    named = given or ["setup"]
    if len(named) > 1 and options["format"] != "table":
        raise usage(f"--format {options['format']} shows one list: choose one of --{', --'.join(named)}.")
    if options["setup"] or named == ["setup"]:
        codes.append(_findings(console, options, list(setup(aliases(options)))))
    if options["workers"]:
        within = conf.WORKER_SEEN_SECONDS if options["within"] is None else options["within"]
        codes.append(_findings(console, options, list(look_at_workers(aliases(options), within))))
    if options["stale"]:
        codes.append(_stale(console, options))
    if options["augment"]:
        codes.append(_augment(console, options))
    if options["lag"]:
        codes.append(lag(console, options))
    if options["balance"] is not None:
        codes.append(balance(console, options))
    return max(codes)


def _findings(console: Console, options: Options, found: list[Finding]) -> int:
    rows = [{name: getattr(finding, name) for name in FINDING_NAMES} for finding in found]
    if options["format"] != "table":
        console.listing(options["format"], [], rows, names=FINDING_NAMES)
    else:
        style = {OK: console.style.SUCCESS, WARNING: console.style.WARNING, WRONG: console.style.ERROR}
        for finding in found:
            console.write(
                f"{SIGNS[finding.state]} {finding.what}: {words.printable(finding.text)}",
                style[finding.state],
            )
            if finding.next:
                console.write(f"    → {finding.next}")
    wrong = sum(finding.state == WRONG for finding in found)
    warned = sum(finding.state == WARNING for finding in found)
    if options["format"] == "table":
        console.write(_verdict(len(found), wrong, warned))
    return FAILED if wrong else DONE


def _verdict(total: int, wrong: int, warned: int) -> str:
    if not wrong and not warned:
        return f"All {words.count(total, 'check')} passed." if total > 1 else "The check passed."
    parts = (
        [f"{wrong:,} of {words.count(total, 'check')} failed"]
        if wrong
        else [f"{words.count(total, 'check')} passed"]
    )
    if warned:
        parts.append(f"{warned:,} worth knowing")
    return ", ".join(parts) + "."


def _stale(console: Console, options: Options) -> int:
    found = sorted(late(aliases(options), clock.now(), grace=options["grace"]), key=lambda row: -row["late"])
    columns = [
        Column("PRODUCT", lambda row: row["key"]),
        Column("AGE", lambda row: words.span(row["age"]), right=True),
        Column("PROMISED", lambda row: words.span(row["promised"]), right=True),
        Column("LATE BY", lambda row: words.span(row["late"]), right=True),
        Column("STATE", lambda row: row["state"].upper()),
        Column("WHY", lambda row: row["why"], stretch=True),
    ]
    shown = (
        found
        if options["format"] == "table"
        else ({name: row[name] for name in STALE_NAMES} for row in found)
    )
    console.listing(
        options["format"],
        columns,
        shown,
        names=STALE_NAMES,
        empty=f"{SIGNS[OK]} No product is older than was promised.",
    )
    if found:
        console.note(
            f"{SIGNS[WRONG]} {words.count(len(found), 'product')} older than was promised. Why: manage.py "
            f"kck explain {found[0]['key']}"
        )
    return FAILED if found else DONE


def _augment(console: Console, options: Options) -> int:
    chosen = _augmented(options["augment"])
    results = []
    with console.progress(len(chosen) if len(chosen) > 1 else None, "") as progress:
        for result in compared(chosen):
            results.append(result)
            if len(chosen) > 1:
                progress.step(str(result.key))
    rows = [
        {
            "key": str(one.key),
            "state": one.state,
            "changes": one.changes,
            "text": one.text,
            "stored": one.augmented,
            "computed": one.computed,
        }
        for one in results
    ]
    bad = [one for one in results if one.state in ("different", "failed")]
    if options["format"] != "table":
        console.listing(options["format"], [], rows, names=AUGMENT_NAMES)
        return FAILED if bad else DONE
    for one in results:
        if one.state == "equal" and len(results) > 20 and console.verbosity < 2:
            continue
        sign = {"equal": SIGNS[OK], "skipped": SIGNS[WARNING]}.get(one.state, SIGNS[WRONG])
        waited = f", {words.count(one.changes, 'change')} on the way" if one.changes else ""
        text = {
            "equal": f"augment equals compute{waited}",
            "different": f"augment differs from compute {one.text}",
        }.get(one.state, one.text)
        console.write(f"{sign} {one.key}: {words.printable(text)}")
    if bad:
        console.write(
            f"    → manage.py kck refresh {bad[0].key} stores what compute says; then correct augment()"
        )
    equal = sum(one.state == "equal" for one in results)
    skipped = sum(one.state == "skipped" for one in results)
    console.write(
        f"{words.count(len(results), 'product')} compared: {equal:,} equal, {len(bad):,} not, {skipped:,} skipped."
    )
    return FAILED if bad else DONE


VERBS = (
    Verb(
        "check", "Check the set-up, promises of freshness, workers, or that augment equals "
        "compute.", _add_check, _check,
        more="Exit code 1 where something is wrong; for CI, cron and monitors.",
    ),
)  # fmt: skip
