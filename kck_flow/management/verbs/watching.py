"""Looking on: ``explain`` one product, draw the ``graph``, see the ``status`` of it all."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from ... import clock
from ... import key as keys
from ...cache import explaining
from ...cache.facade import Cache
from ...cache.listed import state_of
from ...changes.drain import own_alias
from ...conf import conf
from ...key import Key
from ...primer import Primer
from ...registry import registry
from ...store import families, listings, permits, workers
from ...store import frames as framing
from ...store import refreshes as queue
from ...store.session import Session, loads
from ...streams import topics
from .. import words
from ..arguments import (
    Options,
    Verb,
    add_database,
    add_format,
    known_key,
    session_of,
    sessions,
    usage,
)
from ..console import DONE, Console
from ..tables import Column, Row, lines, plain
from .refreshes import slot_row

WIDTH = 70

# -- explain ----------------------------------------------------------------------------------------------------------


def _add_explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", metavar="KEY", help="Which product.")
    parser.add_argument(
        "--format",
        choices=("text", "json"),
        default="text",
        help="text for people (default), json for programs.",
    )


def explain(key: Key) -> dict[str, Any]:
    """Return what ``Cache.explain`` does, with the states of its neighbours and why it is not computed just now.

    ``needs`` and ``feeds`` get a ``state`` each; ``waiting_for`` says in words why a due refresh has not begun, or is
    empty.
    """
    told = Cache.get_instance().explain(key)
    session = session_of(key.key_base)
    around = [*told["needs"], *told["feeds"]]
    rows = listings.some(session, [keys.digest(one["key"]) for one in around])
    for one in around:
        row = rows.get(one["key"])
        one["state"] = state_of(row) if row is not None else "empty"
    told["waiting_for"] = _waiting_for(session, key, told)
    return told


def _waiting_for(session: Session, key: Key, told: dict[str, Any]) -> str:
    slot, primer = told["slot"], registry.primers.get(key.key_base)
    if slot is None or slot["running"]:
        return ""
    if slot["parked_at"] is not None:
        return f"it is parked ({slot['parked_why']}): manage.py kck retry {key}"
    if slot["due_at"] is None or slot["due_at"] > slot["now"]:
        return ""
    if primer is None:
        return "no primer of that name is declared here: a worker of a process that declares it will take it"
    if told["paused"] is not None:
        return f"its primer is paused: manage.py kck resume {primer.name}"
    if slot["retry_at"] is not None and slot["retry_at"] > slot["now"]:
        return (
            f"it failed, and is tried again {words.ahead((slot['retry_at'] - slot['now']).total_seconds())}"
        )
    if not workers.living(session, conf.WORKER_SEEN_SECONDS):
        return "no worker is running: manage.py kck worker (reads refresh it meanwhile)"
    if primer.max_concurrency is not None and permits.full(session, {primer.name: primer.max_concurrency}):
        return f"{primer.max_concurrency} of its primer are running, which is max_concurrency"
    return "a worker that serves its lane and has a place free"


def _explain(console: Console, options: Options) -> int:
    key = known_key(options["key"])
    told = explain(key)
    if options["format"] == "json":
        console.raw(json.dumps(_plain_all(told), ensure_ascii=False, indent=2) + "\n")
        return DONE
    for line in _told(told, key, traceback=bool(options.get("traceback"))):
        console.write(line)
    return DONE


def _plain_all(found: Any) -> Any:
    if isinstance(found, dict):
        return {
            str(name): _plain_all(value) for name, value in found.items() if name not in ("now", "traceback")
        }
    if isinstance(found, (list, tuple)):
        return [_plain_all(value) for value in found]
    return plain(found)


def _told(told: dict[str, Any], key: Key, *, traceback: bool) -> Iterator[str]:
    now = clock.now()
    label = f"  —  {told['label']}" if told["label"] != told["key"] and told["label"] != key.key_base else ""
    head = f"{told['key']}{label}"
    place = "/".join(told["declared"].split("/")[-2:])
    where = f"declared in {place}" if ":" in place and "no primer" not in place else place
    yield f"{words.printable(head)}{' ' * max(3, WIDTH - 15 - len(head))}{where}"
    slot = told["slot"]
    yield _line("state", _state_text(told, now))
    if told["cause"] != "fresh" and told["cause"] != told["state"]:
        yield _line("because", told["cause"])
    if told["version"] and told["computed_at"] is not None:
        age = words.span(max((now - told["computed_at"]).total_seconds(), 0))
        yield _line("value", f"{words.value(told['value'], 80)}   version {told['version']}, {age} old")
        yield _line("expires", _expiry(told, now))
    yield from _counted(told)
    pending = told["pending"]
    if pending["mark"] or pending["changes"]:
        parts = (
            [
                f"a change that makes it {pending['mark']}"
                if pending["mark"] == "stale"
                else "a wish for a refresh"
            ]
            if pending["mark"]
            else []
        )
        if pending["changes"]:
            parts.append(words.count(pending["changes"], "change") + " to be folded in")
        yield _line("on its way", ", ".join(parts))
    if slot is not None and slot["attempts"]:
        first, *rest = slot["last_error"].splitlines() or [""]
        yield _line(
            "error",
            f"{words.printable(first)}{'' if traceback or not rest else '   full trace: --traceback'}",
        )
        for line in rest if traceback else ():
            yield f"    {line}"
    yield from _neighbours("needs", told["needs"])
    if told["declared_needs"]:
        yield _line("declares", ", ".join(told["declared_needs"]))
    yield from _neighbours("feeds", told["feeds"])
    if slot is not None:
        wished = pending["mark"] == "refresh"  # nobody has taken it up: no refresh is due by it
        yield _line("refresh", _slot_text(slot, told["waiting_for"], now, wished=wished))
        if told["paused"] is not None:
            note = f": {told['paused']['note']}" if told["paused"]["note"] else ""
            yield _line("paused", f"since {words.instant(told['paused']['since'], now)}{note}")
    primer = registry.primers.get(key.key_base)
    if primer is not None and primer.schedule is not None:
        following = ", ".join(_in_zone(at, primer, now) for at in told["next"])
        yield _line("schedule", f"{primer.schedule.describe()}{f'; next {following}' if following else ''}")
    if told["last_run"] is not None:
        yield _line("last run", _run_text(told["last_run"], now))
    for number, (text, times) in enumerate((told["statements"] or {"sql": ()})["sql"]):
        often = f" ({words.count(times, 'time')})" if times > 1 else ""
        yield _line("" if number else "sql", f"{text or 'and others'}{often}")
    yield _line("try", _advice(told, key))


def _counted(told: dict[str, Any]) -> Iterator[str]:
    """Yield what is told of a stock or flow: what it holds, of which rows, and what moves it."""
    found = told.get("counted")
    if found and told["value"] is not None:
        waiting = f", {words.count(found['waiting'], 'delta')} to be folded in" if found["waiting"] else ""
        yield _line("value", f"{words.value(told['value'], 80)}{waiting}")
    if found and "members" in found:
        yield _line("counts", f"rows of {found['table']} where {words.clipped(found['members'], 200)}")
    if told.get("not_captured"):
        yield _line("counts", f"not captured: {told['not_captured']}")
    messages = told.get("messages")
    if messages:
        until = (
            f", all up to {words.local(messages['until']):%Y-%m-%d %H:%M:%S %Z}" if messages["until"] else ""
        )
        aside = "".join(
            f", {messages[name]:,} {text}"
            for name, text in (("waiting", "to be enriched"), ("parked", "parked"))
            if messages[name]
        )
        yield _line("messages", f"{messages['handled']:,} handled{until}{aside}")
        if messages["error"]:
            yield _line("error", messages["error"])
    for one in told.get("flows", ()):
        moved = "a number for each key" if one["count"] is None else f"{one['count']:,} in the last day"
        yield _line(one["direction"], f"{one['flow']}: {moved}")


def _line(name: str, text: str) -> str:
    return f"  {name:<10} {text}"


def _state_text(told: dict[str, Any], now: datetime) -> str:
    slot = told["slot"]
    state: str = told["state"]
    attempts = slot["attempts"] if slot is not None else 0
    shown = state if state in ("fresh", "empty") else state.upper()
    if attempts:
        times = "once" if attempts == 1 else f"{attempts} times"
        shown = f"FAILED {times}, last {words.instant(slot['last_error_at'], now)}"
        if told["value"] is not None or (told["state"] not in ("empty", "failed")):
            shown += (
                f" (last good value {words.value(told['value'], 40)}, computed "
                f"{words.instant(told['computed_at'], now)}; still served)"
            )
        else:
            shown += f" ({_in_its_place(told, now)})"
        if slot["running"]:
            shown += "; being computed"
    elif slot is not None and slot["running"]:
        since = words.span(max((slot["now"] - slot["started_at"]).total_seconds(), 0))
        shown = f"COMPUTING for {since}, by {slot['owner'] or 'somebody'}"
        if slot["progress"]:
            shown += f", {progress_text(slot['progress'])}"
    return shown


def _in_its_place(told: dict[str, Any], now: datetime) -> str:
    """Return what readers get of a failing product that is past serving."""
    primer, hard = registry.primers.get(keys.base_of(told["key"])), told["hard_expires_at"]
    until = hard + primer.stale_if_error if primer is not None and hard is not None else None
    if until is not None and until > now and told["version"]:
        return f"its last good value is served in place of the error until {words.instant(until, now)}"
    return "no good value is left to be served"


def progress_text(progress: dict[str, Any]) -> str:
    """Return what a computation told of itself: ``3 of 10, half way``."""
    done, total, note = progress.get("done"), progress.get("total"), progress.get("note")
    text = f"{done:,} of {total:,}" if total else f"{done:,}"
    return f"{text} {words.printable(str(note))}" if note else text


def _when(at: datetime | None, now: datetime) -> str:
    if at is None:
        return "never"
    return words.ahead((at - now).total_seconds())


def _expiry(told: dict[str, Any], now: datetime) -> str:
    soft, hard = told["soft_expires_at"], told["hard_expires_at"]
    if soft is None and hard is None:
        return "never"
    return f"stale {_when(soft, now)}, gone {_when(hard, now)}"


def _neighbours(name: str, found: Sequence[dict[str, Any]]) -> Iterator[str]:
    shown = [
        f"{one['key']} ({one['state'] if one['state'] in ('fresh', 'empty') else one['state'].upper()})"
        for one in found[:8]
    ]
    if shown:
        more = f" … and {len(found) - 8:,} more: manage.py kck graph" if len(found) > 8 else ""
        yield _line(name, words.printable(", ".join(shown)) + more)


def _slot_text(slot: dict[str, Any], waiting_for: str, now: datetime, *, wished: bool) -> str:
    if slot["running"]:
        return f"running, because: {slot['reason'] or 'schedule'}"
    if slot["parked_at"] is not None:
        return f"parked {words.instant(slot['parked_at'], now)} ({slot['parked_why']})"
    if slot["due_at"] is None:
        return "wanted, and not due yet" if wished else "none is wanted"
    due = words.ahead((slot["due_at"] - slot["now"]).total_seconds())
    if slot["want"] <= slot["have"]:
        return f"due {due}, by the schedule"
    text = f"due {due}, because: {words.clipped(slot['reason'] or 'schedule', 60)}"
    return f"{text}; waits: {waiting_for}" if waiting_for else text


def _in_zone(at: datetime, primer: Primer, now: datetime) -> str:
    zone = getattr(primer.schedule, "zone", None)
    if zone is None:
        return words.instant(at, now)
    shown = at.astimezone(zone)
    return shown.strftime("%H:%M %Z" if shown.date() == now.astimezone(zone).date() else "%Y-%m-%d %H:%M %Z")


def _run_text(run: dict[str, Any], now: datetime) -> str:
    ended = words.ahead((run["started_at"] - now).total_seconds() + run["seconds"])
    causes = ""
    if run["causes"]:
        # Each cause is [what it asked for, where it came from, why].
        causes = f" ({words.clipped('; '.join(dict.fromkeys(str(cause[2]) for cause in run['causes'])), 80)})"
    return (
        f"{run['outcome']} {ended} in {words.span(run['seconds'])}, because: "
        f"{run['reason'] or 'schedule'}{words.printable(causes)}"
    )


def _advice(told: dict[str, Any], key: Key) -> str:
    slot = told["slot"]
    if told["declared"].startswith("no primer"):
        return f"manage.py kck set {key} VALUE"
    if slot is not None and slot["parked_at"] is not None:
        return f"manage.py kck retry {key}"
    if told["state"] in ("failed", "stale", "empty"):
        return f"manage.py kck refresh {key} --verbosity 2"
    return f"manage.py kck runs {key}"


# -- graph ------------------------------------------------------------------------------------------------------------


def _add_graph(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "keys",
        nargs="*",
        metavar="KEY",
        help="Only what is near these products (or primers); all where not given.",
    )
    parser.add_argument(
        "--depth", type=words.at_least(1), default=3, metavar="N", help="How many steps away (3)."
    )
    parser.add_argument(
        "--products", action="store_true", help="Each product, not only the families they belong to."
    )
    parser.add_argument(
        "--dot", action="store_true", help="For Graphviz: manage.py kck graph --dot | dot -Tsvg > graph.svg"
    )
    parser.add_argument(
        "--limit",
        type=words.at_least(1),
        default=2000,
        metavar="N",
        help="At most so many recorded edges (2,000).",
    )
    add_format(parser)


GRAPH_NAMES = ("upstream", "downstream", "mode")


def _graph(console: Console, options: Options) -> int:
    if options["dot"] and options["format"] != "table":
        raise usage("--dot is a format of its own; leave --format out.")
    found = graph(
        [known_or_primer(text) for text in options["keys"]],
        depth=options["depth"],
        limit=options["limit"],
        products=options["products"],
    )
    if options["dot"]:
        for line in dot(found):
            console.raw(line + "\n")
        return DONE
    if options["format"] != "table":
        rows = [dict(zip(GRAPH_NAMES, edge, strict=True)) for edge in found]
        console.listing(options["format"], [], rows, names=GRAPH_NAMES)
        return DONE
    if not found:
        where = f"near {', '.join(options['keys'])}" if options["keys"] else "yet"
        console.write(
            f"No edges {where}: nothing is declared to depend on anything, and no compute has read another product."
        )
        return DONE
    for line in tree(found):
        console.write(line)
    console.write(words.count(len(found), "edge"))
    return DONE


def known_or_primer(text: str) -> Key | str:
    """Return a key, or the name of a family whose keys have parameters. Raises CommandError."""
    if text in registry.primers and any(
        not parameter.has_default for parameter in registry.primers[text].parameters
    ):
        return text
    return known_key(text)


def graph(
    near: Sequence[Key | str] = (), *, depth: int = 3, limit: int = 2000, products: bool = False
) -> list[tuple[str, str, str]]:
    """Return edges (upstream, downstream, mode): recorded ones between products, declared ones between families.

    Args:
        near: Products or families to stay near to (``depth`` steps); all where there are none.
        limit: How many recorded edges are looked at, at most.
        products: Where ``near`` is empty: show each product instead of its family.
    """
    found_keys = [one for one in near if isinstance(one, Key)]
    bases = [one for one in near if not isinstance(one, Key)]
    edges = explaining.graph(limit=limit)
    if found_keys and not bases:
        # What is recorded near them, and all that is declared.
        edges = sorted({*explaining.graph(found_keys, depth=depth, limit=limit), *explaining.graph(limit=0)})
    if not near and not products:
        found = {(_family_of(up), _family_of(down)): mode for up, down, mode in edges}
        return [(up, down, mode) for (up, down), mode in sorted(found.items()) if up != down]
    edges = _joined(edges)
    if not near:
        return edges
    start = {name for edge in edges for name in edge[:2] if name in near or _family_of(name) in bases} | set(
        near
    )
    reached = _reached(edges, start, depth, 0, 1) | _reached(edges, start, depth, 1, 0)
    return [edge for edge in edges if edge[0] in reached and edge[1] in reached]


def _family_of(name: str) -> str:
    base = keys.base_of(name)
    return base if base in registry.primers else name


def _joined(edges: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Tell what is declared of a family to those of its products that are in the picture."""
    members: dict[str, set[str]] = {}
    for name in (name for edge in edges for name in edge[:2]):
        if _family_of(name) != name:
            members.setdefault(_family_of(name), set()).add(name)
    recorded = {
        (_family_of(up), _family_of(down))
        for up, down, _ in edges
        if up != _family_of(up) or down != _family_of(down)
    }
    found: dict[tuple[str, str], str] = {}
    for up, down, mode in edges:
        if up in registry.primers and (up, down) in recorded:
            continue  # which of the two families' products hang together is recorded
        for one in sorted(members.get(down, ())) or [down]:
            found[up, one] = mode
    return [(up, down, mode) for (up, down), mode in sorted(found.items())]


def _reached(
    edges: Sequence[tuple[str, str, str]], start: set[str], depth: int, here: int, there: int
) -> set[str]:
    found, front = set(start), set(start)
    for _ in range(depth):
        front = {edge[there] for edge in edges if edge[here] in front} - found
        found |= front
    return found


def dot(edges: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """Yield the lines of a Graphviz drawing: what makes stale drawn through, refresh dashed, augment bold."""
    style = {"refresh": "dashed", "augment": "bold"}
    yield "digraph kck {"
    yield "  rankdir=LR; node [shape=box, fontname=sans];"
    for name in dict.fromkeys(name for edge in edges for name in edge[:2]):
        if name.partition("/")[0] not in registry.primers:
            yield f"  {_quoted(name)} [shape=cylinder];"
    for upstream, downstream, mode in edges:
        yield (
            f"  {_quoted(upstream)} -> {_quoted(downstream)} [label={_quoted(mode)}, "
            f"style={style.get(mode, 'solid')}];"
        )
    yield "}"


def _quoted(text: str) -> str:
    return '"' + words.printable(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def tree(edges: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """Yield the graph as indented lines, from what everything comes from to what is made of it; each branch once."""
    below: dict[str, list[tuple[str, str]]] = {}
    for upstream, downstream, mode in edges:
        below.setdefault(upstream, []).append((downstream, mode))
    fed = {downstream for _, downstream, _ in edges}
    shown: set[str] = set()

    def branch(name: str, indent: str) -> Iterator[str]:
        children = below.get(name, [])
        for number, (child, mode) in enumerate(children):
            last = number == len(children) - 1
            again = child in shown and child in below
            yield (
                f"{indent}{'└──' if last else '├──'} {words.printable(child)}   "
                f"{mode}{' (see above)' if again else ''}"
            )
            if not again:
                shown.add(child)
                yield from branch(child, indent + ("    " if last else "│   "))

    # A circle has no beginning: begin it anywhere.
    for root in [*sorted(set(below) - fed), *sorted(set(below) & fed)]:
        if root not in shown:
            shown.add(root)
            yield words.printable(root)
            yield from branch(root, "")


# -- status -----------------------------------------------------------------------------------------------------------

FRAME_NAMES = ("frame", "planned", "parked", "closed", "skipped", "closed_up_to")
LANE_NAMES = ("database", "lane", "slots", "due", "running", "parked", "failing", "overdue_seconds")


def _add_status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--watch", action="store_true", help="Look again and again, until Ctrl+C.")
    parser.add_argument(
        "--interval",
        type=words.seconds,
        default=2.0,
        metavar="DURATION",
        help="With --watch: how often (2 s).",
    )
    add_database(parser)
    add_format(parser)


def status(sessions: Sequence[Session]) -> dict[str, Any]:
    """Return what goes on: ``totals`` (a dict); ``lanes``, ``workers``, ``running``, ``paused``, ``topics``,
    ``frames`` (lists).
    """
    told: dict[str, Any] = {
        "lanes": [],
        "workers": [],
        "running": [],
        "paused": [],
        "topics": [],
        "frames": [],
        "totals": {"products": 0, "marks": 0, "changes": 0},
    }
    for session in sessions:
        for row in queue.counts(session):
            told["lanes"].append(dict(zip(LANE_NAMES, (session.alias, *row), strict=True)))
        for row in workers.listed(session):
            told["workers"].append(worker_row(session.alias, row))
        for found in queue.listed(session, waiting=True, limit=1000):
            slot = slot_row(found)
            if not slot["running"]:
                break  # what runs comes first
            told["running"].append(
                {
                    "key": slot["key"],
                    "seconds": slot["age"],
                    "usual_seconds": slot["cost_ms"] / 1000 if slot["cost_ms"] else None,
                    "worker": slot["worker"],
                    "reason": slot["reason"],
                    "progress": slot["progress"],
                }
            )
        told["paused"] += [
            {"name": name, "note": note} for name, note in sorted(families.paused(session).items())
        ]
        for name, count in listings.totals(session).items():
            told["totals"][name] += count
        told["frames"] += [dict(zip(FRAME_NAMES, row, strict=True)) for row in framing.states(session)]
        told["topics"] += [asdict(topics.lag(one)) for one in topics.topics(alias=own_alias(session))]
    return told


def worker_row(alias: str, found: tuple[Any, ...]) -> dict[str, Any]:
    """Return a worker as a row of a listing; ``alive`` is whether it was seen within WORKER_SEEN_SECONDS."""
    names = (
        "id",
        "host",
        "pid",
        "version",
        "lanes",
        "products",
        "executor",
        "concurrency",
        "mode",
        "started_at",
        "seen_at",
        "in_flight",
        "silent_seconds",
    )
    row = dict(zip(names, found, strict=True))
    return {
        "database": alias,
        **row,
        "id": f"w{row['id']}",
        "lanes": loads(row["lanes"]),
        "products": loads(row["products"]),
        "alive": row["silent_seconds"] <= conf.WORKER_SEEN_SECONDS,
    }


def _status(console: Console, options: Options) -> int:
    if not options["watch"]:
        _show_status(console, options)
        return DONE
    if options["format"] == "csv":
        raise usage("--watch shows a table, or with --format json a line each time.")
    clear = "\x1b[H\x1b[2J" if console.stdout.isatty() else ""
    try:
        while True:
            if options["format"] == "json":
                console.raw(json.dumps(_plain_all(status(sessions(options))), ensure_ascii=False) + "\n")
            else:
                console.raw(clear)
                console.write(f"{words.local(clock.now()):%Y-%m-%d %H:%M:%S %Z}   Ctrl+C ends this")
                _show_status(console, options)
                if not clear:
                    console.write()
            console.stdout.flush()
            time.sleep(max(options["interval"], 0.1))
    except KeyboardInterrupt:
        return DONE  # the usual way to end it


def _show_status(console: Console, options: Options) -> None:
    told = status(sessions(options))
    if options["format"] == "json":
        console.raw(json.dumps(_plain_all(told), ensure_ascii=False, indent=2) + "\n")
        return
    if options["format"] == "csv":
        console.listing("csv", [], told["lanes"], names=LANE_NAMES)
        return
    lanes = told["lanes"]
    totals = told["totals"]
    several = len({row["database"] for row in lanes}) > 1
    due, running, parked = (sum(row[name] for row in lanes) for name in ("due", "running", "parked"))
    oldest = max((row["overdue_seconds"] or 0 for row in lanes), default=0)
    console.write(
        f"{words.count(totals['products'], 'product')} · {due:,} due"
        f"{f', the oldest for {words.span(oldest)}' if oldest else ''} · {running:,} running · {parked:,} parked · "
        f"{words.count(totals['marks'] + totals['changes'], 'change')} on the way"
    )
    if lanes:
        columns = [
            *([Column("DATABASE", lambda row: row["database"])] if several else []),
            Column("LANE", lambda row: str(row["lane"]), right=True),
            *(
                Column(name.upper(), _number(name), right=True)
                for name in ("slots", "due", "running", "parked", "failing")
            ),
            Column("OVERDUE", lambda row: words.span(row["overdue_seconds"]), right=True),
        ]
        _section(console, columns, lanes)
    if told["running"]:
        columns = [
            Column("RUNNING", lambda row: row["key"]),
            Column("FOR", lambda row: words.span(row["seconds"]), right=True),
            Column("PROGRESS", lambda row: _bar(row)),
            Column("WORKER", lambda row: row["worker"]),
            Column("REASON", lambda row: row["reason"], stretch=True),
        ]
        _section(console, columns, told["running"])
    if told["workers"]:
        columns = [
            Column("WORKER", lambda row: row["id"]),
            Column("HOST", lambda row: f"{row['host']}:{row['pid']}"),
            Column("MODE", lambda row: row["mode"]),
            Column(
                "LANES",
                lambda row: ",".join(map(str, row["lanes"] or ())) if len(row["lanes"] or ()) < 10 else "all",
            ),
            Column(
                "PRODUCTS",
                lambda row: words.clipped(",".join(row["products"]), 30) if row["products"] else "all",
            ),
            Column("RUNNING", lambda row: str(row["in_flight"]), right=True),
            Column(
                "SEEN", lambda row: words.ahead(-row["silent_seconds"]) + ("" if row["alive"] else " SILENT")
            ),
            Column("SINCE", lambda row: words.instant(row["started_at"], clock.now())),
        ]
        _section(console, columns, told["workers"])
    else:
        console.write("")
        console.write(
            "No worker is running: products are refreshed when they are read. To begin one: manage.py kck worker"
        )
    if told["topics"]:
        columns = [
            Column("TOPIC", lambda row: row["topic"]),
            Column("HANDLED", _number("handled"), right=True),
            Column("WAITING", _number("messages"), right=True),
            Column("UP TO", _up_to),
            Column("LATE", _number("late"), right=True),
            Column("ENRICHING", _number("waiting"), right=True),
            Column("PARKED", _number("parked"), right=True),
            Column("ERROR", lambda row: row["error"], stretch=True),
        ]
        _section(console, columns, told["topics"])
    if told["frames"]:
        columns = [
            Column("FRAMES OF", lambda row: row["frame"]),
            Column("CLOSED", _number("closed"), right=True),
            Column("PLANNED", _number("planned"), right=True),
            Column("PARKED", _number("parked"), right=True),
            Column("SKIPPED", _number("skipped"), right=True),
            Column("UP TO", lambda row: words.instant(row["closed_up_to"], clock.now())),
        ]
        _section(console, columns, told["frames"])
    for row in told["paused"]:
        console.write(f"paused: {row['name']}{' (' + row['note'] + ')' if row['note'] else ''}")


def _up_to(row: Row) -> str:
    if not row["begun"]:
        return "not begun: kck consume"
    if row["waits_for"]:
        return f"waits for the history of {', '.join(row['waits_for'])}"
    return "behind" if row["seconds"] is None else words.ahead(-row["seconds"])


def _number(name: str) -> Any:
    return lambda row: f"{row[name]:,}"


def _section(console: Console, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    console.write("")
    for number, line in enumerate(lines(columns, rows)):
        console.write(line, console.style.MIGRATE_HEADING if not number else None)


def _bar(row: Row) -> str:
    progress, width = row["progress"], 10
    if progress and progress.get("total"):
        share = min(max(progress["done"] / progress["total"], 0.0), 1.0)
        left = row["seconds"] / share - row["seconds"] if share else None
        rest = f", ~{words.span(left)} left" if left is not None else ""
        return f"[{'#' * round(share * width)}{'-' * (width - round(share * width))}] {progress_text(progress)}{rest}"
    if progress:
        return progress_text(progress)
    if row["usual_seconds"]:
        left = row["usual_seconds"] - row["seconds"]
        return (
            f"~{words.span(left)} left (estimated)" if left > 0 else f"{words.span(-left)} longer than usual"
        )
    return "-"


VERBS = (
    Verb(
        "explain",
        "Say why a product is as it is, what it needs and feeds, and what to try.",
        _add_explain,
        _explain,
    ),
    Verb("graph", "Show what depends on what.", _add_graph, _graph),
    Verb("status", "Show what is due, runs or is parked, and who works.", _add_status, _status),
)
