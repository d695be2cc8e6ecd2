"""Computing and the queue: ``refresh``, ``warm``, ``refreshes``, ``runs``, ``pause``, ``resume``, ``retry``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from ... import clock, spread, waking
from ...cache import counted, recount
from ...cache.facade import Cache
from ...entry import Entry
from ...errors import ComputeFailed, KckFlowError
from ...key import Key
from ...refresh import collecting
from ...registry import registry
from ...store import families, listings, runs
from ...store import refreshes as queue
from ...store.session import Session, caller, loads
from ...streams import topics
from .. import words
from ..arguments import (
    Options,
    Verb,
    add_database,
    add_format,
    add_limit,
    add_noinput,
    add_product,
    aliases,
    any_key,
    failed,
    family,
    known_key,
    session_of,
    sessions,
    slots,
    unknown,
    usage,
)
from ..console import DONE, FAILED, PARTLY, Console
from ..many import Chosen, Done, choose, each
from ..tables import Column, Row

# Up to so many products, people get a line for each; programs always do.
LINES = 20

# -- refresh, warm ----------------------------------------------------------------------------------------------------

DONE_NAMES = ("key", "outcome", "value", "version", "seconds", "error")


def refresh(keys: Sequence[Key], *, concurrency: int = 2) -> Iterator[Done]:
    """Compute some products now, whatever is stored, and yield each as it ends."""
    return each(keys, Cache.get_instance().refresh, concurrency=concurrency)


def warm(keys: Sequence[Key], *, concurrency: int = 2) -> Iterator[Done]:
    """Compute those of some products that cannot be served, and yield each as it ends."""
    day = 86_400.0

    def compute(key: Key) -> Entry:
        return Cache.get_instance().get_entry(key, prime_on_cache_miss=True, wait=day)

    return each(keys, compute, concurrency=concurrency)


def _add_many(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--concurrency", type=words.at_least(1), default=2, metavar="N", help="How many at once (2)."
    )
    parser.add_argument("--force", action="store_true", help="Those of paused primers, too.")
    add_format(parser)


def _add_refresh(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "keys", nargs="*", metavar="KEY", help="What to refresh; all of every domain where nothing is named."
    )
    parser.add_argument("--all", action="store_true", help="All keys of all domains, and all that is stored.")
    add_product(parser, "All keys of this primer's domain, and all of it that is stored.")
    parser.add_argument(
        "--queue", action="store_true", help="Leave it to the workers: queue, and do not wait."
    )
    parser.add_argument(
        "--priority", type=words.lane, metavar="N", help="With --queue: the lane, 0 to 9, 0 first."
    )
    parser.add_argument(
        "--computed-before",
        type=words.aware,
        metavar="INSTANT",
        help="Only what was not computed since then (to go on after Ctrl+C).",
    )
    _add_many(parser)


def _refresh(console: Console, options: Options) -> int:
    if bool(options["keys"]) + bool(options["all"]) + bool(options["product"]) > 1:
        raise usage("Say what to refresh: KEY …, or --product NAME, or --all, one of the three.")
    if options["priority"] is not None and not options["queue"]:
        raise usage("--priority is about a place in the queue: it goes with --queue.")
    begun_at = clock.now()
    chosen = (
        _named(options)
        if options["keys"]
        else _chosen(options, stored=True, before=options["computed_before"])
    )
    _tell_left_out(console, chosen)
    if not chosen.keys:
        if not options["queue"]:
            console.listing(options["format"], (), (), names=DONE_NAMES)
        console.note(_nothing(chosen))
        return FAILED if chosen.errors else DONE
    if options["queue"]:
        return _queue(console, chosen, options)
    what = " ".join(
        [
            *([f"--product {options['product']}"] if options["product"] else ["--all"]),
            *(["--force"] if options["force"] else []),
        ]
    )
    resume = (
        f"manage.py kck refresh {what} --computed-before {begun_at:%Y-%m-%dT%H:%M:%SZ}"
        if not options["keys"]
        else ""
    )
    new = collecting.unbegun(chosen.keys)
    ended = _compute(console, options, chosen, refresh, "refreshed", resume)
    for key, metric in new:
        done = collecting.begin(key, metric)
        if done.filled:
            periods = words.count(done.filled, "period")
            console.note(f"{key}: filled in the {periods} before, of which it can tell as well.")
    return ended


def _add_warm(parser: argparse.ArgumentParser) -> None:
    add_product(parser, "Only the domain of this primer.")
    _add_many(parser)


def _warm(console: Console, options: Options) -> int:
    chosen = _chosen(options, stored=False, missing=True)
    _tell_left_out(console, chosen)
    if not chosen.keys:
        console.listing(options["format"], (), (), names=DONE_NAMES)
        if not chosen.errors:
            # The sentence is all that people get; programs have their empty list.
            (console.write if options["format"] == "table" else console.note)(_there(chosen))
        return FAILED if chosen.errors else DONE
    again = "manage.py kck warm" + (f" --product {options['product']}" if options["product"] else "")
    return _compute(
        console, options, chosen, warm, "computed", f"{again} (what is there is not computed again)"
    )


def _named(options: Options) -> Chosen:
    """Return the products of arguments. Raises CommandError for a wrong one, and for a paused family."""
    chosen = Chosen()
    for text in options["keys"]:
        key = any_key(text)
        if key.key_base not in registry.primers:
            if key in listings.some(session_of(key.key_base), [key.digest]):
                raise failed(
                    f"{str(key)!r} was set by hand, and no primer computes it. Set it: manage.py kck set {key} VALUE"
                )
            raise usage(unknown(key))
        chosen.keys.append(key)
    for key in chosen.keys:
        notes = families.paused(session_of(key.key_base))
        if key.key_base in notes and not options["force"]:
            raise failed(
                f"{key.key_base!r} is paused{_noted(notes[key.key_base])}. Nothing was refreshed. "
                f"All the same: --force. Or: manage.py kck resume {key.key_base}"
            )
    chosen.keys = list(dict.fromkeys(chosen.keys))
    return chosen


def _chosen(
    options: Options, *, stored: bool, missing: bool = False, before: datetime | None = None
) -> Chosen:
    primers = [family(options["product"])] if options["product"] else registry.unique()
    if not primers:
        raise failed("No primers found: put them in <app>/primers.py, or run: manage.py kck init APP")
    chosen = choose(primers, force=options["force"], stored=stored, missing=missing, before=before)
    if options["product"] and chosen.paused:
        name, note = next(iter(chosen.paused.items()))
        raise failed(
            f"{name!r} is paused{_noted(note)}. All the same: --force. Or: manage.py kck resume {name}"
        )
    return chosen


def _noted(note: str) -> str:
    return f" ({note})" if note else ""


def _tell_left_out(console: Console, chosen: Chosen) -> None:
    for name, note in chosen.paused.items():
        console.note(f"{name} is paused{_noted(note)}: left out. All the same: --force")
    for name, error in chosen.errors.items():
        console.stderr.write(f"The domain of {name!r} cannot be told: {type(error).__name__}: {error}")


def _there(chosen: Chosen) -> str:
    if not chosen.left:
        return "computed 0: no domain names a product."
    return f"computed 0: {words.count(chosen.left, 'product')} {'was' if chosen.left == 1 else 'were'} there already."


def _nothing(chosen: Chosen) -> str:
    if chosen.left:
        return (
            f"Nothing to do: {words.count(chosen.left, 'product')} {'is' if chosen.left == 1 else 'are'} "
            "computed already."
        )
    return "Nothing to refresh: no primer has a domain, and nothing is stored."


def _queue(console: Console, chosen: Chosen, options: Options) -> int:
    for key in chosen.keys:
        Cache.get_instance().request_refresh(key, options["priority"])
    if console.verbosity:
        console.write(
            f"queued {words.count(len(chosen.keys), 'refresh', 'refreshes')}. See: manage.py kck refreshes"
        )
    return PARTLY if chosen.errors else DONE


def _compute(
    console: Console, options: Options, chosen: Chosen, work: Callable[..., Iterator[Done]], did: str, resume: str
) -> int:  # fmt: skip
    total, people = len(chosen.keys), options["format"] == "table"
    if people and total > 1:
        console.note(
            f"{did.replace('ed', 'ing')} {words.count(total, 'product')}, "
            f"{min(options['concurrency'], total)} at a time"
        )
    rows: list[Row] = []
    bad: list[Done] = []
    ended = 0
    progress = console.progress(total if total > 1 else None, "")
    try:
        with progress:
            for done in work(chosen.keys, concurrency=options["concurrency"]):
                ended += 1
                if done.error is not None:
                    bad.append(done)
                if not people or total <= LINES or console.verbosity > 1:
                    rows.append(_done_row(done))
                if total > 1:
                    progress.step(f"{done.key} {words.span(done.seconds)}")
    except KeyboardInterrupt:
        console.stderr.write(
            f"Interrupted: {did} {ended - len(bad):,} of {total:,}; the others are as they "
            f"were.{f' To go on: {resume}' if resume else ''}"
        )
        raise
    rows.sort(key=lambda row: [str(key) for key in chosen.keys].index(row["key"]) if total <= LINES else 0)
    columns = [
        Column("PRODUCT", lambda row: row["key"]),
        Column(
            "VALUE",
            lambda row: words.value(row["value"], 40) if row["outcome"] != "failed" else "-",
            right=True,
            stretch=True,
        ),
        Column("TOOK", lambda row: words.span(row["seconds"]), right=True),
        Column("OUTCOME", lambda row: "FAILED" if row["outcome"] == "failed" else row["outcome"]),
    ]
    console.listing(options["format"], columns, rows, names=DONE_NAMES)
    for done in bad[:LINES]:
        console.stderr.write(_why(done, console.verbosity))
    good = ended - len(bad)
    summary = f"{did} {good:,}, failed {len(bad):,}{_some(bad)}. Elapsed {words.span(progress.seconds)}."
    if bad:
        summary += f" See: manage.py kck explain {bad[0].key}"
    (console.write if people else console.note)(summary)
    if bad and not good:
        return FAILED
    return PARTLY if bad or chosen.errors else DONE


def _done_row(done: Done) -> Row:
    entry = done.entry
    return {
        "key": str(done.key),
        "outcome": "failed" if done.error is not None else "done",
        "value": entry.value if entry is not None else None,
        "version": entry.version if entry is not None else None,
        "seconds": round(done.seconds, 3),
        "error": _cause(done.error) if done.error is not None else "",
    }


def _cause(error: BaseException) -> str:
    return (
        error.cause
        if isinstance(error, ComputeFailed) and error.cause
        else f"{type(error).__name__}: {error}"
    )


def _why(done: Done, verbosity: int) -> str:
    assert done.error is not None
    text = str(done.error) if isinstance(done.error, KckFlowError) else f"{done.key}: {_cause(done.error)}"
    if verbosity > 1 and isinstance(done.error, ComputeFailed) and done.error.traceback:
        text += f"\n{done.error.traceback.rstrip()}"
    return text


def _some(bad: Sequence[Done]) -> str:
    shown = ", ".join(str(done.key) for done in bad[:3])
    return f" ({shown}{' …' if len(bad) > 3 else ''})" if bad else ""


# -- refreshes --------------------------------------------------------------------------------------------------------

SLOT_NAMES = (
    "key", "state", "lane", "due_at", "requested_at", "age", "attempts", "reason", "worker", "want", "have", "retry_at",
    "last_error", "parked_at", "parked_why", "nominal", "started_at", "finished_at", "cost_ms", "progress",
)  # fmt: skip
_SLOT = (
    "id",
    "key",
    "key_base",
    "lane",
    "due_at",
    "want",
    "have",
    "running",
    "worker",
    "attempts",
    "crashes",
    "retry_at",
    "last_error",
    "last_error_at",
    "parked_at",
    "parked_why",
    "reason",
    "requested_at",
    "nominal",
    "started_at",
    "finished_at",
    "cost_ms",
    "progress",
    "token",
    "now",
    "schedule_digest",
)


def slot_row(found: tuple[Any, ...]) -> dict[str, Any]:
    """Return a slot as a row of a listing: with its ``state`` (running, due, scheduled, backing off, parked, idle)."""
    row = dict(zip(_SLOT, found, strict=True))
    row["progress"] = loads(row["progress"])
    row["state"] = _slot_state(row)
    since = (
        row["started_at"] if row["running"] else row["requested_at"] if row["want"] > row["have"] else None
    )
    row["age"] = max((row["now"] - since).total_seconds(), 0.0) if since is not None else None
    if row["state"] not in ("backing off", "parked"):
        row["last_error"] = row["last_error"] if row["attempts"] else ""
    row["last_error"] = row["last_error"].partition("\n")[0]
    row["reason"] = row["reason"] or ("schedule" if row["schedule_digest"] else "")
    return row


def _slot_state(row: dict[str, Any]) -> str:
    if row["running"]:
        return "running"
    if row["parked_at"] is not None:
        return "parked"
    if row["due_at"] is None:
        return "idle"
    if row["retry_at"] is not None and row["retry_at"] > row["now"]:
        return "backing off"
    return "due" if row["due_at"] <= row["now"] else "scheduled"


def _add_refreshes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--parked", action="store_true", help="Only those set aside after failing again and again."
    )
    parser.add_argument("--overdue", action="store_true", help="Only those due, and not begun.")
    add_product(parser)
    parser.add_argument(
        "--clear",
        metavar="NAME",
        help="Empty the queue of a family. Values stay; schedules begin again with the next planning.",
    )
    add_noinput(parser)
    add_limit(parser, 100)
    add_database(parser)
    add_format(parser)


def clear(key_base: str) -> int:
    """Empty a family's queue; returns how many refreshes were waiting."""
    with slots(session_of(key_base).alias) as session:
        return queue.clear(session, key_base)


def _refreshes(console: Console, options: Options) -> int:
    if options["clear"] is not None:
        if options["parked"] or options["overdue"] or options["product"]:
            raise usage("--clear NAME empties a family's whole queue; it goes with no other option.")
        name = _family_of_slots(options["clear"])
        if not console.confirm(f"Empty the queue of {name!r}?"):
            raise failed("Nothing was cleared.")
        count = clear(name)
        if console.verbosity:
            console.write(
                f"{words.count(count, 'refresh', 'refreshes')} of {name} {'is' if count == 1 else 'are'} "
                "wanted no longer."
            )
        return DONE
    key_base = _family_of_slots(options["product"]) if options["product"] else None
    limit = options["limit"] or 2**31 - 1
    found: list[dict[str, Any]] = []
    for session in sessions(options):
        rows = queue.listed(
            session,
            key_base=key_base,
            parked=options["parked"],
            overdue=options["overdue"],
            waiting=True,
            limit=limit + 1,
        )
        found.extend(slot_row(row) for row in rows)
    cut = len(found) > limit
    found = found[:limit]
    columns = [
        Column("PRODUCT", lambda row: row["key"]),
        Column("STATE", lambda row: row["state"].upper() if row["state"] == "parked" else row["state"]),
        Column(
            "DUE",
            lambda row: words.ahead((row["due_at"] - row["now"]).total_seconds()) if row["due_at"] else "-",
            right=True,
        ),
        Column("AGE", lambda row: words.span(row["age"]), right=True),
        Column("LANE", lambda row: str(row["lane"]), right=True),
        Column("ATTEMPTS", lambda row: str(row["attempts"]), right=True),
        Column("REASON", lambda row: words.clipped(row["reason"], 40)),
        Column("WORKER", lambda row: row["worker"] or "-"),
        Column("ERROR", lambda row: row["last_error"] or "-", stretch=True),
    ]
    empty = (
        "Nothing is parked."
        if options["parked"]
        else "Nothing is overdue."
        if options["overdue"]
        else "Nothing is wanted."
    )
    shown = (
        found if options["format"] == "table" else [{name: row[name] for name in SLOT_NAMES} for row in found]
    )
    console.listing(options["format"], columns, shown, names=SLOT_NAMES, empty=empty)
    if cut:
        console.note(f"Cut after {limit:,}: there are more. All of them: --limit 0")
    if options["parked"] and found:
        console.note("To revive them: manage.py kck retry --parked")
    return DONE


def _family_of_slots(name: str) -> str:
    """Return a key base that is declared or has slots. Raises CommandError."""
    if name not in registry.primers and not queue.listed(session_of(name), key_base=name, limit=1):
        family(name)
    return name


# -- runs -------------------------------------------------------------------------------------------------------------

RUN_NAMES = (
    "id",
    "key",
    "outcome",
    "reason",
    "started_at",
    "seconds",
    "version",
    "bytes",
    "worker",
    "error",
    "nominal",
    "causes",
)
AVERAGE_NAMES = ("product", "runs", "failed", "mean_seconds", "median_seconds", "longest_seconds", "last_at")
OUTCOMES = ("done", "unchanged", "failed", "fenced", "superseded", "released", "skipped", "lost")


def _add_runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", nargs="?", metavar="KEY", help="A key or a family; all where not given.")
    parser.add_argument(
        "--averages",
        action="store_true",
        help="For each family: how many, how many failed, how long they took.",
    )
    parser.add_argument("--outcome", choices=OUTCOMES, help="Only those that ended so.")
    add_limit(parser, 20)
    add_database(parser)
    add_format(parser)


def _runs(console: Console, options: Options) -> int:
    key_base, asked = None, sessions(options)
    keys: list[Key] = []
    if options["key"]:
        text = options["key"]
        primer = registry.primers.get(text)
        if primer is not None and primer.parameters:
            key_base = text
        else:
            keys = [known_key(text)]
            primer = registry.primers.get(keys[0].key_base)
            asked = [session_of(keys[0].key_base)] if not options["averages"] else asked
        if options["averages"]:
            return _averages(console, options, keys[0].key_base if keys else key_base)
        if primer is not None and counted.is_captured(primer):
            keys.append(
                recount.slot_key(primer.name)
            )  # whichever of its keys is asked about, all are counted
    elif options["averages"]:
        return _averages(console, options, None)
    limit = options["limit"] or 2**31 - 1
    # A family's, those of some keys, or (of neither) all.
    told: list[tuple[str | None, Any]] = [(None, key.digest) for key in keys]
    if key_base is not None or not told:
        told.append((key_base, None))
    found: list[Row] = []
    for session in asked:
        for base, digest in told:
            last = runs.last(session, digest=digest, key_base=base, limit=limit, outcome=options["outcome"])
            found.extend(run_row(row) for row in last)
    found = sorted(found, key=lambda row: row["started_at"], reverse=True)[:limit]
    now = clock.now()
    columns = [
        Column("PRODUCT", lambda row: row["key"]),
        Column("BEGAN", lambda row: words.instant(row["started_at"], now)),
        Column("TOOK", lambda row: words.span(row["seconds"]), right=True),
        Column(
            "OUTCOME",
            lambda row: row["outcome"].upper() if row["outcome"] in ("failed", "lost") else row["outcome"],
        ),
        Column("VERSION", lambda row: "-" if row["version"] is None else str(row["version"]), right=True),
        Column("SIZE", lambda row: words.size(row["bytes"]), right=True),
        Column("REASON", lambda row: words.clipped(row["reason"] or "schedule", 40)),
        Column("WORKER", lambda row: row["worker"] or "-"),
        Column("ERROR", lambda row: row["error"] or "-", stretch=True),
    ]
    shown = (
        found if options["format"] == "table" else [{name: row[name] for name in RUN_NAMES} for row in found]
    )
    console.listing(
        options["format"],
        columns,
        shown,
        names=RUN_NAMES,
        empty="No runs are recorded of it." if options["key"] else "No runs are recorded yet.",
    )
    return DONE


def run_row(found: tuple[Any, ...]) -> dict[str, Any]:
    """Return a run as a row of a listing."""
    names = (
        "id",
        "key",
        "outcome",
        "reason",
        "started_at",
        "seconds",
        "version",
        "bytes",
        "worker",
        "error",
        "nominal",
        "traceback",
        "causes",
    )
    row = dict(zip(names, found, strict=True))
    row["causes"] = loads(row["causes"])
    return row


def _averages(console: Console, options: Options, key_base: str | None) -> int:
    found: list[Row] = []
    for session in sessions(options):
        rows = runs.averages(session, key_base)
        found.extend(dict(zip(AVERAGE_NAMES, row, strict=True)) for row in rows)
    now = clock.now()
    columns = [
        Column("PRIMER", lambda row: row["product"]),
        Column("RUNS", lambda row: f"{row['runs']:,}", right=True),
        Column("FAILED", lambda row: f"{row['failed']:,}", right=True),
        Column("MEAN", lambda row: words.span(row["mean_seconds"]), right=True),
        Column("MEDIAN", lambda row: words.span(row["median_seconds"]), right=True),
        Column("LONGEST", lambda row: words.span(row["longest_seconds"]), right=True),
        Column("LAST", lambda row: words.instant(row["last_at"], now)),
    ]
    console.listing(options["format"], columns, found, names=AVERAGE_NAMES, empty="No runs are recorded yet.")
    return DONE


# -- pause, resume, retry ---------------------------------------------------------------------------------------------


def _add_pause(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names", nargs="+", metavar="NAME", help="Primers that clock and changes shall refresh no longer."
    )
    parser.add_argument("--note", default="", help="Why, for whoever wonders.")


def _pause(console: Console, options: Options) -> int:
    for primer in [family(name) for name in options["names"]]:
        Cache.get_instance().pause(primer.name, options["note"])
        if console.verbosity:
            console.write(
                f"{primer.name} is paused{_noted(options['note'])}: reads compute it still, the clock and "
                "changes do not."
            )
    return DONE


def _add_resume(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME", help="Primers to refresh again.")


def _resume(console: Console, options: Options) -> int:
    for primer in [family(name) for name in options["names"]]:
        was_paused = Cache.get_instance().resume(primer.name)
        if was_paused:
            waking.soon(caller(spread.alias_of(primer)))
        if console.verbosity:
            console.write(
                f"{primer.name} is refreshed again." if was_paused else f"{primer.name} was not paused."
            )
    return DONE


def _add_retry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "keys", nargs="*", metavar="KEY", help="What is parked or backs off, to be tried again now."
    )
    parser.add_argument(
        "--parked",
        action="store_true",
        help="All that is parked, messages of topics, too; with --product, of one family.",
    )
    add_product(parser)
    add_database(parser)


def retry(session: Session, key: Key | None = None, key_base: str | None = None) -> list[str]:
    """Revive one product, or all parked ones (of a family); returns the keys revived. Workers are woken."""
    revived = queue.retry(session, digest=key.digest if key is not None else None, key_base=key_base)
    if revived:
        waking.soon(session)
    return revived


def _retry(console: Console, options: Options) -> int:
    if bool(options["keys"]) == bool(options["parked"]) or (options["product"] and not options["parked"]):
        raise usage("Say what to try again: KEY …, or --parked [--product NAME], one of the two.")
    if options["parked"]:
        key_base = _family_of_slots(options["product"]) if options["product"] else None
        revived = []
        for alias in aliases(options):
            with slots(alias) as session:
                revived += retry(session, key_base=key_base)
        messages = sum(
            topics.retry(topic)
            for topic in topics.topics()
            if key_base in (None, topic.name) and spread.alias_of(topic) in aliases(options)
        )
        if messages and console.verbosity:
            console.write(
                f"{words.count(messages, 'parked message')} will be handled again: manage.py kck consume"
            )
        if console.verbosity and (revived or not messages):
            for key in revived if len(revived) <= LINES or console.verbosity > 1 else ():
                console.write(key)
            console.write(
                f"{words.count(len(revived), 'product')} will be tried again."
                if revived
                else "Nothing is parked."
            )
        return DONE
    for key in [known_key(text) for text in options["keys"]]:
        with slots(session_of(key.key_base).alias) as session:
            done = bool(retry(session, key))
        if console.verbosity:
            console.write(
                f"{key} will be tried again now." if done else f"{key} is neither parked nor backing off."
            )
    return DONE


VERBS = (
    Verb(
        "refresh", "Compute products now, or with --queue have workers do it.", _add_refresh, _refresh,
        more="Without a KEY it is --all. Exit code 3: some failed.",
    ),
    Verb("warm", "Compute what is missing of all domains (after a deploy).", _add_warm, _warm),
    Verb("refreshes", "List what waits, runs, backs off or is parked.", _add_refreshes, _refreshes),
    Verb("runs", "List what refreshes did: outcome, duration, error.", _add_runs, _runs),
    Verb("pause", "Stop refreshing primers by clock and change.", _add_pause, _pause),
    Verb("resume", "Refresh paused primers again.", _add_resume, _resume),
    Verb("retry", "Try again what is parked or backs off.", _add_retry, _retry),
)  # fmt: skip
