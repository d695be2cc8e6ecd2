"""``stocks``, ``flows`` and ``process``: what is counted, how, and how it moves."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from ... import clock, spread
from ...cache import counted, past
from ...cache.facade import Cache
from ...changes import triggers
from ...drawing.diagram import parts_of
from ...drawing.text import picture
from ...errors import DeclarationError, KckFlowError
from ...process import Process
from ...registry import registry
from ...stock import Flow, Stock
from ...store import events
from ...store.session import caller
from .. import tables, words
from ..arguments import Options, Verb, add_format, known_key, usage
from ..console import DONE, Console, is_utf8
from ..tables import Column, Row

T = TypeVar("T", Stock, Flow)

NAMES = (
    "stock",
    "value",
    "captured",
    "why_not",
    "table",
    "counted_at",
    "recorded_at",
    "waiting",
    "state",
    "cause",
)


def _add_stocks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stock", nargs="*", metavar="STOCK", help="Only these; all where not given.")
    add_format(parser)


def _wanted(names: Sequence[str], kind: type[T], what: str) -> list[T]:
    """Return the stocks (or flows) of some names, each once, or all. Raises CommandError: one is none."""
    found: list[T] = []
    for primer in [registry.primer(name) for name in dict.fromkeys(names)] or registry.unique():
        if isinstance(primer, kind):
            found.append(primer)
        elif names:
            raise usage(f"{primer.name!r} is no {what}.")
    return found


def _stocks(console: Console, options: Options) -> int:
    rows = [_row(stock) for stock in _wanted(options["stock"], Stock, "stock")]
    now = clock.now()
    columns = [
        Column("STOCK", lambda row: row["stock"]),
        Column("VALUE", lambda row: "-" if row["value"] is None else str(row["value"]), right=True),
        Column("CAPTURED", lambda row: "yes" if row["captured"] else "no"),
        Column("COUNTED", lambda row: words.instant(row["counted_at"], now) if row["counted_at"] else "-"),
        Column("RECORDED", lambda row: words.instant(row["recorded_at"], now) if row["recorded_at"] else "-"),
        Column("WAITING", lambda row: f"{row['waiting']:,}", right=True),
        Column("NOTE", lambda row: row["why_not"] or row["cause"], stretch=True),
    ]
    console.listing(options["format"], columns, rows, names=NAMES, empty="No stock is declared.")
    return DONE


def _row(stock: Stock) -> dict[str, Any]:
    try:
        why_not = counted.why_not(stock, spread.alias_of(stock))
    except DeclarationError as error:
        why_not = str(error)
    row: dict[str, Any] = {
        "stock": stock.name,
        "value": None,
        "captured": not why_not,
        "why_not": f"not captured: {why_not}" if why_not else "",
        "table": None,
        "counted_at": None,
        "recorded_at": past.last_recorded(stock),
        "waiting": 0,
        "state": None,
        "cause": "",
    }
    if stock.parameters and not all(parameter.has_default for parameter in stock.parameters):
        row["cause"] = f"a number for each {', '.join(parameter.name for parameter in stock.parameters)}"
        return row
    try:
        found = Cache.get_instance().explain(stock.build_key())
    except KckFlowError as error:
        row["cause"] = str(error)
        return row
    told = found.get("counted") or {}
    value = found["value"]
    row.update(
        value=value["value"] if isinstance(value, dict) else None,
        table=told.get("table"),
        counted_at=found["computed_at"],
        waiting=told.get("waiting", 0),
        state=found["state"],
        cause=found["cause"],
    )
    return row


FLOW_NAMES = ("flow", "sources", "sinks", "window", "value", "waiting", "gaps", "state", "cause")


def _add_flows(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("flow", nargs="*", metavar="FLOW", help="Only these; all where not given.")
    parser.add_argument(
        "--events", action="store_true", help="The last events of those that keep them, the newest first."
    )
    parser.add_argument(
        "--limit",
        type=words.at_least(1),
        default=20,
        metavar="N",
        help="With --events: how many, at most (20).",
    )
    add_format(parser)


def _flows(console: Console, options: Options) -> int:
    wanted = _wanted(options["flow"], Flow, "flow")
    if options["events"]:
        return _events(console, options, wanted)
    rows = [_flow_row(flow) for flow in wanted]
    columns = [
        Column("FLOW", lambda row: row["flow"]),
        Column("FROM", lambda row: _ends(row["sources"])),
        Column("TO", lambda row: _ends(row["sinks"])),
        Column("WINDOW", lambda row: row["window"]),
        Column("COUNTED", lambda row: "-" if row["value"] is None else f"{row['value']:,}", right=True),
        Column("WAITING", lambda row: f"{row['waiting']:,}", right=True),
        Column("NOTE", lambda row: row["cause"], stretch=True),
    ]
    console.listing(options["format"], columns, rows, names=FLOW_NAMES, empty="No flow is declared.")
    return DONE


EVENT_NAMES = (
    "at", "flow", "subject", "source", "sink", "facets", "args", "called", "transaction", "id", "model",
)  # fmt: skip


def _events(console: Console, options: Options, flows: list[Flow]) -> int:
    found = [
        one
        for flow in flows
        for one in events.last(caller(spread.alias_of(flow)), flow.name, options["limit"])
    ]
    found.sort(key=lambda one: (one.at, one.id), reverse=True)
    rows = [
        {
            "at": one.at,
            "flow": one.key_base,
            "subject": one.subject,
            "source": one.source,
            "sink": one.sink,
            "facets": one.facets,
            "args": one.args,
            "called": one.callback_state or None,
            "transaction": one.xact,
            "id": one.id,
            "model": one.model,
        }
        for one in found[: options["limit"]]
    ]
    now = clock.now()
    columns = [
        Column("WHEN", lambda row: words.instant(row["at"], now)),
        Column("FLOW", lambda row: row["flow"]),
        Column("SUBJECT", lambda row: row["subject"] or "-"),
        Column("FROM", lambda row: row["source"] or "outside"),
        Column("TO", lambda row: row["sink"] or "outside"),
        Column("CALLED", lambda row: row["called"] or "-"),
        Column("FACETS", lambda row: words.value(row["facets"]) if row["facets"] else "-", stretch=True),
    ]
    console.listing(
        options["format"],
        columns,
        rows,
        names=EVENT_NAMES,
        empty=_no_event(flows),
    )
    return DONE


def _no_event(flows: Sequence[Flow]) -> str:
    keeping = [flow for flow in flows if flow.record_events]
    if not keeping:
        return "No event is kept. A flow keeps them with record_events = True."
    names = {flow.name for flow in keeping}
    refused = [
        f"{name}: {model} keeps no event: {why}"
        for alias in dict.fromkeys(map(spread.alias_of, keeping))
        for name, model, why in triggers.unkept(alias)
        if name in names
    ]
    return "\n".join(["No event is kept.", *refused])


def _ends(names: list[str | int | None]) -> str:
    return ", ".join("outside" if name is None else str(name) for name in names) or "-"


def _flow_row(flow: Flow) -> dict[str, Any]:
    row: dict[str, Any] = {
        "flow": flow.name,
        "sources": [],
        "sinks": [],
        "window": str(flow.window),
        "value": None,
        "waiting": 0,
        "gaps": [],
        "state": None,
        "cause": "",
    }
    if not all(parameter.has_default for parameter in flow.parameters):
        row["cause"] = f"a number for each {', '.join(parameter.name for parameter in flow.own_parameters)}"
        return row
    try:
        found = Cache.get_instance().explain(flow.build_key())
    except DeclarationError as error:
        row["cause"] = str(error)
        return row
    told = found["counted"]
    row.update(
        sources=told.get("sources", []),
        sinks=told.get("sinks", []),
        value=found["value"]["value"] if found["value"] else None,
        waiting=told.get("waiting", 0),
        gaps=told.get("gaps", []),
        state=found["state"],
        cause=found["cause"],
    )
    return row


STOCK_COLUMNS = ("opening", "in", "out", "corrected", "uncounted", "count")
PROCESS_NAMES = (
    "process", "start", "end", "kind", "name", "facet_value", *STOCK_COLUMNS, "moved", "rate", "conversion",
)  # fmt: skip


def _add_process(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("process", metavar="KEY", help="The process, with its parameters where it has some.")
    parser.add_argument(
        "--from", dest="start", type=words.aware, metavar="INSTANT",
        help="Where the period begins, a window of each flow does; since its books were opened where not given.",
    )  # fmt: skip
    parser.add_argument(
        "--to",
        dest="end",
        type=words.aware,
        metavar="INSTANT",
        help="Where it ends, excluded; now where not given.",
    )
    parser.add_argument(
        "--by", choices=["hour", "day", "week", "month"], help="Also step by step, with rates. Wants --from."
    )
    parser.add_argument("--facet", metavar="NAME", help="Also by the values of a facet.")
    add_format(parser)


def _process(console: Console, options: Options) -> int:
    key = known_key(options["process"])
    primer = registry.primers.get(key.key_base)
    if not isinstance(primer, Process):
        raise usage(f"{key.key_base!r} is no process.")
    given = {name: options[name] for name in ("start", "end", "by", "facet")}
    try:
        found = Cache.get_instance().picture(key, **given)
    except ValueError as error:
        raise usage(str(error)) from error
    rows = list(_process_rows(key, found))
    if options["format"] == "json":
        console.raw(f"{tables.as_json(found)}\n")
        return DONE
    columns = [
        Column("", _name_of),
        *(Column(name.upper(), partial(_number, name), right=True) for name in STOCK_COLUMNS),
        *(Column(name.upper(), partial(_share, name), right=True) for name in ("rate", "conversion")),
    ]
    if given["by"]:
        columns.insert(
            0,
            Column("FROM", lambda row: f"{words.local(row['start']):%Y-%m-%d %H:%M}" if row["start"] else ""),
        )
    if given["facet"]:
        columns.insert(-2, Column("MOVED", partial(_number, "moved"), right=True))
    if options["format"] == "table":
        boxes, pipes = parts_of(found)
        for line in picture(
            boxes, pipes, width=console.width, ascii=not is_utf8(console.stdout)
        ).splitlines():
            console.write(words.printable(line))
        console.write()
    console.listing(options["format"], columns, rows, names=PROCESS_NAMES, footer=_process_footer(found))
    return DONE


def _process_rows(key: Any, found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a line for each stock and flow of a process, each of their facet values, and each step of them."""
    for part in (found, *found.get("steps", ())):
        for kind in ("stocks", "flows"):
            for name, told in part[kind].items():
                row: dict[str, Any] = dict.fromkeys(PROCESS_NAMES) | {
                    "process": str(key),
                    "start": part["start"],
                    "end": part["end"],
                    "kind": kind.removesuffix("s"),
                    "name": name,
                }
                yield row | {column: told.get(column) for column in (*STOCK_COLUMNS, "rate", "conversion")}
                for value, one in (told.get("facets") or {}).items():
                    shown = {"facet_value": value, "of": True}
                    yield row | shown | (one if isinstance(one, dict) else {"count": one})


def _name_of(row: Row) -> str:
    return (
        f"  {row['facet_value']!r}"
        if row.get("of")
        else f"{row['name']}{' →' if row['kind'] == 'flow' else ''}"
    )


def _number(name: str, row: Row) -> str:
    return "" if row[name] is None else f"{row[name]:,}"


def _share(name: str, row: Row) -> str:
    return "" if row[name] is None else f"{row[name]:.1%}"


def _process_footer(found: dict[str, Any]) -> str:
    since = {one["since"] for one in found["stocks"].values()}
    if found["start"] is None and None not in since:
        began = f"Since {words.instant(max(since), clock.now())}, when its books were opened"
    else:
        began = (
            f"Since {words.local(found['start']):%Y-%m-%d %H:%M %Z}"
            if found["start"]
            else "Its books are not open yet"
        )
    told = {True: "it balances", False: "it leaves a rest that no flow counts", None: "not all is known"}
    missing = ", ".join(name for name, one in found["flows"].items() if not one["complete"])
    more = f" Not all that moved by {missing} was seen (manage.py kck flows)." if missing else ""
    return f"{began}: {told[found['balanced']]}.{more}"


VERBS = (
    Verb(
        "stocks",
        "What is counted: its value, whether its changes are captured, what waits.",
        _add_stocks,
        _stocks,
    ),
    Verb("process", "What its stocks held, what came in, went out and is there.", _add_process, _process),
    Verb("flows", "What moves between stocks, and how much of it was counted.", _add_flows, _flows),
)
