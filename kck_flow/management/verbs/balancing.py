"""``check --balance``: whether stocks hold what their rows say, and whether the books of processes balance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from django.db import connections, transaction

from ... import clock, counting, spread
from ...cache import counted, flows, processes
from ...cache.processes import Member
from ...changes import books as linking
from ...changes import gaps as capturing
from ...definition import Definition, is_distinct, model_of
from ...errors import DeclarationError, KckFlowError, NotPrimed
from ...primer import Primer
from ...process import Process
from ...registry import registry
from ...stock import Stock
from ...store import books, gaps, generations, levels
from ...store.books import Balance, Line, Link
from ...store.refreshes import instant
from ...store.session import caller
from .. import words
from ..arguments import Options, family, usage
from ..console import DONE, FAILED, Console
from ..tables import Row

NAMES = (
    "process", "stock", "key", "facet", "facet_value", "opening", "inflow", "outflow", "corrected", "uncounted",
    "held", "counted", "rows", "state", "text",
)  # fmt: skip
SIGNS = {"equal": "✓", "uncounted": "!", "skipped": "!", "different": "✗"}
# So many rows are named, and not more.
MOST_ROWS = 20


def stock_rows(stocks: Sequence[Stock], limit: int = 20) -> Iterator[Row]:
    """Compare what captured stocks hold with a recount of their rows, each in one snapshot: a row for each that is
    equal or was not compared, and for each place where one is not.
    """
    for stock in stocks:
        alias = spread.alias_of(stock)
        row: dict[str, Any] = dict.fromkeys(NAMES) | {"stock": stock.name, "text": ""}
        try:
            found = counted.definition_of(stock, alias)
        except DeclarationError as error:
            yield row | {"state": "skipped", "text": f"declared wrongly: {error}"}
            continue
        if found is None:
            yield row | {"state": "skipped", "text": f"not captured: {counted.why_not(stock, alias)}"}
            continue
        with _snapshot(alias):
            told = counted.told(stock.build_key() if not stock.parameters else None, stock, found, alias)
            if told["state"] != "fresh":
                never = told["state"] == "empty" and told["computed_at"] is None
                yield row | {"state": "skipped" if never else "different", "text": told["cause"]}
                # What its triggers missed shows in the rows, until somebody reads it and has it counted anew.
                if not never:
                    recount = found.recount()
                    for one in levels.drift(
                        caller(alias), found.generation, recount, limit, timed=found.timed
                    ):
                        yield row | _differing(stock, found, one)
                continue
            recount = found.recount()
            differing = levels.drift(caller(alias), found.generation, recount, limit, timed=found.timed)
            book = _book(stock, found, alias)
            rows = [row | _differing(stock, found, one) for one in differing]
            if book is not None:
                rows += [row | one for one in _unlike_totals(stock, found, *book)]
        if not rows:
            yield row | (_of(book[0].facets[0]) if book is not None else {}) | {"state": "equal"}
        yield from rows


@contextmanager
def _snapshot(alias: str) -> Iterator[None]:
    """One snapshot for several statements; inside somebody's transaction, its own."""
    if connections[alias].in_atomic_block:
        yield
        return
    with transaction.atomic(using=alias):
        caller(alias).run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def _differing(stock: Stock, found: Definition, one: levels.Drift) -> dict[str, Any]:
    sums = found.amount is not None and one.held == one.counted
    # Of what is counted distinct, each value is told apart, in all and by each facet: no rows can be named for that.
    apart = is_distinct(stock.measure) and one.facet > 0
    facet = stock.facets[one.facet - 1].name if 0 < one.facet <= len(stock.facets) else ""
    return {
        "key": "/".join([stock.name, *map(str, one.args.values())]),
        "facet": facet,
        "facet_value": one.facet_value if facet or apart else None,
        "held": one.held_amount if sums else one.held,
        "counted": one.counted_amount if sums else one.counted,
        "rows": None if sums or apart else _suspects(stock, facet, one),
        "text": "" if sums or one.held else "these rows",
        "state": "different",
    }


def _suspects(stock: Stock, facet: str, one: levels.Drift) -> list[Any] | None:
    """Return the primary keys among which the rows are that no trigger told; None where there are too many, or where
    rows are gone.
    """
    if one.counted <= one.held or one.counted > MOST_ROWS:
        return None
    try:
        key = stock.build_key(**one.args)
        value = {facet: stock.shape.typed(one.facet, one.facet_value)} if facet else {}
        return list(counting.members(stock, key, value).values_list("pk", flat=True)[:MOST_ROWS])
    except (KckFlowError, ValueError, TypeError):
        return None


def _book(stock: Stock, found: Definition, alias: str) -> tuple[Balance, list[Link]] | None:
    """Return a stock's balance with all flows that have its parameters, and how they reach it; None where its book does
    not know them, or a transition is counted by two.
    """
    moving = linking.movers(stock, found)
    linked = linking.links(stock, found, moving)
    if not linked or linking.doubled(moving) is not None:
        return None
    balance = books.balance(caller(alias), found.generation, linked, 1)
    if balance is None or not {link.flow for link in linked} <= balance.flows:
        return None
    return balance, linked


def _unlike_totals(
    stock: Stock, found: Definition, balance: Balance, linked: Sequence[Link]
) -> Iterator[dict[str, Any]]:
    """Yield the facets whose values do not add up to the total, at the opening, between or now."""
    total, told = balance.facets[0], linking.told_facets(found, linked)
    for place, facet in enumerate(stock.facets, 1):
        line = balance.facets.get(place, Line(0, 0, 0, 0, 0))
        whole = line if place in told else replace(line, ins=total.ins, outs=total.outs)
        if whole != total:
            yield _of(whole) | {
                "facet": facet.name,
                "state": "different",
                "text": f"its values of {facet.name} add up to {_sum(whole)}, in all it is {_sum(total)}",
            }


def process_rows(listed: Sequence[Process], limit: int = 20) -> Iterator[Row]:
    """Strike the balance of each stock of some processes, each in one snapshot: what it held at its opening, what came
    in and went out since, what it holds now. A row for each stock, and for each key that leaves a rest.
    """
    for process in listed:
        alias = spread.alias_of(process)
        row: dict[str, Any] = dict.fromkeys(NAMES) | {"process": process.name, "text": ""}
        try:
            plan = processes.plan_of(process, alias)
        except NotPrimed as error:
            yield row | {"state": "skipped", "text": str(error)}
            continue
        for one in plan.members:
            yield from (
                row | {"stock": one.stock.name} | found for found in _balance_of(process, one, alias, limit)
            )
        if not process.overlapping:
            yield from (row | found for found in _crowded(plan.members, alias))
        for name, missed in _gaps(plan, alias).items():
            # Its books may balance all the same: what they miss, both sides of them miss.
            yield row | {"state": "uncounted", "text": f"of {name}, {flows.missed_text(missed)}"}


def _gaps(plan: processes.Plan, alias: str) -> dict[str, list[tuple[Any, Any]]]:
    """Return when transitions of a process's flows were missed, by flow."""
    session = caller(alias)
    generations_of = [found.generation for _, found in plan.flows]
    capturing.look(session, generations_of)
    by_flow: dict[str, list[tuple[Any, Any]]] = {}
    for one in gaps.known(session, generations_of):
        by_flow.setdefault(one.key_base, []).append((instant(one.start), instant(one.end)))
    return by_flow


def _balance_of(process: Process, one: Member, alias: str, limit: int) -> Iterator[dict[str, Any]]:
    session, found = caller(alias), one.found
    held = levels.read(session, found.generation, {})
    captured = generations.captured_by(session, found.relation, found.generation)
    if held is not None and held.primed_at is not None and not held.holds(captured):
        # Both sides of its book come from triggers that have missed something.
        yield {
            "state": "skipped",
            "text": f"what it holds is worth nothing until it is counted anew: {_anew(one.stock)}",
        }
        return
    balance = books.balance(caller(alias), one.found.generation, one.links, limit)
    if balance is None:
        yield {
            "state": "skipped",
            "text": f"its book is not open yet: manage.py kck refresh {one.stock.name} opens it",
        }
        return
    if not {link.flow for link in one.links} <= balance.flows:
        yield {"state": "skipped", "text": "its book does not know all of its flows yet: manage.py migrate"}
        return
    total, name = balance.facets[0], one.stock.name
    yield from _unlike_totals(one.stock, one.found, balance, one.links)
    rest = "different" if process.complete else "uncounted"
    yield _of(total) | {
        "state": rest if balance.keys else "equal",
        "text": _when(balance),
        "key": name if not one.found.args else None,
    }
    if one.found.args:
        for args, line in balance.keys:
            yield _of(line) | {"key": "/".join([name, *map(str, args.values())]), "state": rest}


def _crowded(members: Sequence[Member], alias: str) -> Iterator[dict[str, Any]]:
    found = members[0].found
    model = model_of(members[0].stock)
    identity = "||','||".join(
        f'kck_row."{field.column}"::text'
        for field in getattr(model._meta, "pk_fields", None) or [model._meta.pk]
    )
    times = " + ".join(f"({one.found.member})::int" for one in members)
    query = f"SELECT {identity} AS identity, {times} AS times FROM {found.relation} AS kck_row"
    number, named = books.crowded(caller(alias), query, MOST_ROWS)
    if number:
        yield {
            "rows": named,
            "counted": number,
            "state": "different",
            "text": f"{words.count(number, 'row is', 'rows are')} in more than one of its stocks",
        }


def _anew(stock: Primer) -> str:
    """Return the command that counts a family anew: any key of it will do."""
    if not stock.parameters:
        return f"manage.py kck refresh {stock.name}"
    names = "/".join(f"<{parameter.name}>" for parameter in stock.parameters)
    return f"manage.py kck refresh '{stock.name}/{names}', any key of it,"


def _of(line: Line) -> dict[str, Any]:
    return {
        "opening": line.opening,
        "inflow": line.ins,
        "outflow": line.outs,
        "corrected": line.corrected,
        "uncounted": line.rest,
        "held": line.closing,
    }


def _sum(line: Line) -> str:
    return f"{line.opening:,} + {line.ins:,} − {line.outs:,} = {line.closing:,}"


def _when(balance: Balance) -> str:
    now = clock.now()
    corrected = balance.corrected_at
    more = f", corrected by a count {words.instant(instant(corrected), now)}" if corrected is not None else ""
    return f"since {words.instant(instant(balance.opened_at), now)}{more}"


# -- the option -------------------------------------------------------------------------------------------------------


def balance(console: Console, options: Options) -> int:
    """Carry ``--balance`` out; returns the exit code."""
    wanted = [family(name) for name in options["balance"]] or registry.unique()
    for primer in wanted:
        if options["balance"] and not isinstance(primer, (Stock, Process)):
            raise usage(f"{primer.name!r} is no stock or process: there is nothing to compare it with.")
    listed = [primer for primer in wanted if isinstance(primer, Process)]
    stocks = dict.fromkeys(primer for primer in wanted if isinstance(primer, Stock))
    for process in listed:
        stocks |= dict.fromkeys(_stocks_of(process))
    compared, struck = list(stock_rows(list(stocks))), list(process_rows(listed))
    rows = [*compared, *struck]
    bad = [row for row in rows if row["state"] == "different"]
    if options["format"] != "table":
        console.listing(options["format"], [], rows, names=NAMES)
        return FAILED if bad else DONE
    for row in compared:
        _show_stock(console, row)
    for row in struck:
        _show_process(console, row)
    counts = [row for row in compared if row["state"] == "different"]
    if counts:
        for name in dict.fromkeys(row["stock"] for row in counts):
            console.write(f"    → {_anew(registry.primers[name])} counts anew")
    equal = sum(row["state"] == "equal" for row in compared)
    console.write(
        f"{words.count(len({row['stock'] for row in compared}), 'stock')} compared: {equal:,} equal, "
        f"{len({row['stock'] for row in counts}):,} not, "
        f"{sum(row['state'] == 'skipped' for row in compared):,} skipped."
    )
    if struck:
        wrong = {row["process"] for row in struck if row["state"] == "different"}
        rests = {row["process"] for row in struck if row["state"] in ("uncounted", "skipped")} - wrong
        names = {row["process"] for row in struck}
        console.write(
            f"{words.count(len(names), 'process', 'processes')}: {len(names - wrong - rests):,} balanced, "
            f"{len(rests):,} with a rest or skipped, {len(wrong):,} not balanced."
        )
    return FAILED if bad else DONE


def _stocks_of(process: Process) -> list[Stock]:
    try:
        return [one.stock for one in processes.plan_of(process, spread.alias_of(process)).members]
    except NotPrimed:
        return []  # its row says why


def _show_stock(console: Console, row: Row) -> None:
    sign = SIGNS[row["state"]]
    if row["key"] is None:
        console.write(f"{sign} {row['stock']}: {row['text'] or 'what it holds is what its rows say'}")
        return
    where = f" of {row['facet']} {row['facet_value']!r}" if row["facet"] else ""
    console.write(f"{sign} {row['key']}{where}: holds {row['held']:,}, its rows say {row['counted']:,}")
    if row["rows"]:
        which = row["text"] or "among"
        console.write(f"    {which}: {', '.join(map(str, row['rows']))}")


def _show_process(console: Console, row: Row) -> None:
    sign = SIGNS[row["state"]]
    if row["opening"] is None or row["facet"]:
        of = f", {row['stock']}" if row["stock"] else ""
        named = f": {', '.join(row['rows'])}" if row["rows"] else ""
        console.write(f"{sign} {row['process']}{of}: {row['text']}{named}")
        return
    line = f"{row['opening']:,} + {row['inflow']:,} in − {row['outflow']:,} out"
    for name in ("corrected", "uncounted"):
        if row[name]:
            line += f" {'+' if row[name] > 0 else '−'} {abs(row[name]):,} {name}"
    when = f" ({row['text']})" if row["text"] else ""
    of = row["key"] or row["stock"]
    off = f", off by {row['uncounted']:+,}" if row["state"] == "different" and row["uncounted"] else ""
    console.write(f"{sign} {row['process']}, {of}: {line} = {row['held']:,}{off}{when}")
