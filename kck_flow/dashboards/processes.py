"""A process's page: the picture of its stocks and flows over a range, its books, its flows over time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import wording
from ..drawing.diagram import diagram
from ..drawing.parts import Box, Pipe
from ..entry import Point
from ..errors import NotPrimed
from ..key import Key
from ..permission import VIEW, may
from ..primer import Primer
from ..process import Process
from ..registry import registry
from ..stock import Flow, Stock
from ..store.events import Stay
from . import members, reading
from .captions import Caption, captions
from .drawn import HEIGHT, WIDTH, flows_chart, notes_of, sheet_of
from .faces import Refused
from .pages import Page, href, point_row
from .ranges import BadParameter, Range

COLUMNS = ("start", "end", "complete")
NARROW = 480  # from here on a picture runs down
_Lines = Sequence[tuple[str, Sequence[Point]]]
MOST_VALUES = 8  # of a facet: the rest is "other"


def page(
    key: Key,
    process: Process,
    user: Any,
    over: Range,
    split: str,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    *,
    alone: bool = True,
) -> Page:
    """Return a process over a range.

    Args:
        split: By which facet; empty for none.
        size: Width and height of its chart on a desk.
        alone: Whether it has a page to itself: only there is told how long rows were in its stocks.

    Raises:
        Refused: not all of it is captured, or the range does not fit its windows.
    """
    facet = split or None
    try:
        told = reading.picture(key, process, over, facet)
    except NotPrimed as error:
        raise Refused(503, _("Not captured"), str(error), key=str(key)) from None
    except ValueError as error:
        raise BadParameter("split" if facet and "facet" in str(error) else "by", str(error)) from None
    stocks, flows = registry.parts(process)
    parts = {one.name: _key_of(one, key) for one in [*stocks, *flows]}
    words = _words(parts)
    hidden = sum(not may(user, VIEW, part) for part in parts.values())
    mine = captions([key])[key]
    # Over a range that their books do not reach back to, or in which something was counted by no flow, only the whole
    # time since they were opened can be told: by how much they are off is in there.
    books = told
    if told["balanced"] is None and over.end > over.now:
        books = reading.books(key, process)
    since = max((one["since"] for one in books["stocks"].values() if one["since"]), default=None)
    since = since if books is not told and books["balanced"] is not None else None
    stays = reading.stays(key, process, over) if alone else {}
    balances = [balance(words[one.name], books["stocks"][one.name], user) for one in stocks]
    main = main_of(stocks, told)
    sentence = _sentence(main, told, words, over)
    into = _("Into and out of %(label)s") % {"label": words[main].label}
    sheet = replace(
        sheet_of(
            mine,
            over,
            f"f{key.digest.hex[:10]}",
            width=size[0],
            height=size[1],
            title=f"{mine.label}: {into}",
        ),
        description=sentence,
    )
    id = f"d{key.digest.hex[:10]}"
    boxes, pipes = drawn_parts(stocks, flows, told, words, over)
    gains, losses = _sides(main, told, words, over)
    net = _net(gains, losses)
    notes = notes_of([key, *parts.values()], over)
    moved = bool(told.get("steps")) and bool(gains or losses)
    chart = flows_chart(gains, losses, net, sheet, over, notes) if moved else None
    columns = [*COLUMNS, *(one.name for one in flows), *(f"{one.name}.count" for one in stocks)]
    rows = _rows(told, over, [one.name for one in flows], [one.name for one in stocks])

    def draw(theme: str, width: int) -> str:
        chosen: Any = theme or "light"
        narrow = width < NARROW
        return diagram(boxes, pipes, id=f"{id}s", title=mine.label, theme=chosen, narrow=narrow, translate=_)

    return Page(
        "process.html",
        mine.label,
        columns=columns,
        rows=rows,
        meta={
            "key": str(key),
            "label": mine.label,
            "kind": "process",
            "balanced": books["balanced"],
            "balanced_since": since,
            "stocks": told["stocks"],
            "flows": told["flows"],
            "stays": {
                name: {"left": one.left, "known": one.known, "median_seconds": one.seconds}
                for name, one in stays.items()
            },
            **over.told(),
        },
        context={
            "mine": mine,
            "description": mine.description,
            "told": told,
            "stocks": [
                {
                    "name": one.name,
                    "label": words[one.name].label,
                    "count": words[one.name].number(told["stocks"][one.name]["count"]),
                    "change": stock_change(words[one.name], told["stocks"][one.name]),
                    "href": href(words[one.name], over.given),
                }
                for one in stocks
            ],
            "diagram": diagram(boxes, pipes, id=id, title=mine.label, translate=_),
            "diagram_narrow": diagram(boxes, pipes, id=f"{id}n", title=mine.label, narrow=True, translate=_),
            "sentences": [flow_sentence(words, one, told["flows"][one.name], over) for one in flows],
            "rates": [row for one in flows if (row := rates(words[one.name], told["flows"][one.name]))],
            "stays": [
                stay_row(words[one.name], stays[one.name], over) for one in stocks if one.name in stays
            ],
            "balances": balances,
            "balanced": books["balanced"],
            "books_text": books_text(books["balanced"], since),
            "chart": chart,
            "chart_title": into,
            "facets": facet_names(stocks, flows),
            "facet": facet,
            "by_facet": by_facet(stocks, flows, told, words, facet, over) if facet else None,
            "hidden": hidden,
        },
        picture=draw,
        facts=[balances, stays, told["stocks"], told["flows"], [one.text for one in notes]],
        keys=list(parts.values()),
        guard=lambda user: may(user, VIEW, key),
    )


def _words(parts: Mapping[str, Key]) -> dict[str, Caption]:
    found = captions(parts.values())
    return {name: found[key] for name, key in parts.items()}


def _key_of(part: Primer, key: Key) -> Key:
    own = {one.name: key.params[one.name] for one in part.parameters if one.name in key.params}
    return part.build_key(**own)


def stock_change(words: Caption, told: Mapping[str, Any]) -> str:
    """Return how a stock has changed over the range; empty where that is not known."""
    if told["count"] is None or told["opening"] is None:
        return ""
    return _("%(change)s in this range") % {
        "change": words.number(told["count"] - told["opening"], sign=True)
    }


def books_text(balanced: bool | None, since: datetime | None) -> str:
    """Return whether the books of a process balance, over its range or since they were opened."""
    when = wording.instant(since) if since is not None else ""
    if balanced is None:
        return _("The books cannot be told for this range.")
    if balanced:
        return (
            _("The books balance since they were opened, %(when)s.") % {"when": when}
            if when
            else _("The books balance.")
        )
    if when:
        return _(
            "The books do not balance: something moved since they were opened, %(when)s, and no flow counted it."
        ) % {"when": when}
    return _("The books do not balance.")


def balance(words: Caption, told: Mapping[str, Any], user: Any) -> dict[str, Any]:
    """Return the line of a stock's book: opening + in − out = closing, and whether that holds; where it does not, where
    the rows are that it holds, as far as the user may see them.
    """
    opening, came, went, count = (told[name] for name in ("opening", "in", "out", "count"))
    corrected, rest = told.get("corrected"), told.get("uncounted")
    if None in (opening, came, went, count):
        why = (
            _("not known: its book was opened after this range begins")
            if told.get("since")
            else _("not known")
        )
        return {"label": words.label, "text": why, "ok": None, "off": 0, "href": href(words)}
    text = f"{words.number(opening)} + {words.number(came)} {wording.MINUS} {words.number(went)}"
    if corrected:
        text += f" {'+' if corrected > 0 else wording.MINUS} {words.number(abs(corrected))} " + _(
            "(recounted)"
        )
    off = rest or 0
    if off:
        text += f" {'+' if off > 0 else wording.MINUS} {words.number(abs(off))} " + _("(counted by no flow)")
    return {
        "label": words.label,
        "text": f"{text} = {words.number(count)}",
        "ok": not off,
        "off": off,
        "href": href(words),
        "rows_href": members.rows_href(words.key, user) if off else "",
    }


def flow_sentence(
    words: Mapping[str, Caption], flow: Flow, told: Mapping[str, Any], over: Range
) -> dict[str, str]:
    """Return a flow in a line: ``Trial → Active: 418``."""
    outside = _("outside")
    ends = [
        ", ".join(words[name].label if name in words else (name or outside) for name in told[side])
        for side in ("sources", "sinks")
    ]
    own = words[flow.name]
    return {
        "label": own.label,
        "ends": f"{ends[0]} → {ends[1]}",
        "count": own.number(told["count"]),
        "href": href(own, over.given),
        "complete": ""
        if told["complete"]
        else (_("not counted yet") if told["since"] is None else _("some were missed")),
    }


def rates(words: Caption, told: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the shares that a flow is of its sources; None where it is none of any.

    What runs through many times a range is no share of what was there: then that one is a dash.
    """
    shares = [
        wording.number(told[name], "percent")
        if told.get(name) is not None and told[name] <= 1
        else wording.MISSING
        for name in ("rate", "conversion")
    ]
    if shares == [wording.MISSING] * 2:
        return None
    return {"label": words.label, "href": href(words), "held": shares[0], "came": shares[1]}


def stay_row(words: Caption, told: Stay, over: Range) -> dict[str, str]:
    """Return how long rows were in a stock that they left, in words."""
    of = wording.count(told.known, "%(count)s that left", "%(count)s that left")
    unknown = told.left - told.known
    if unknown:
        of += "; " + wording.count(
            unknown,
            "of %(count)s more it is not known when it came",
            "of %(count)s more it is not known when they came",
        )
    median = wording.span(told.seconds) if told.seconds is not None else wording.MISSING
    return {"label": words.label, "href": href(words, over.given), "median": median, "of": of}


def drawn_parts(
    stocks: Sequence[Primer],
    flows: Sequence[Primer],
    told: Mapping[str, Any],
    words: Mapping[str, Caption],
    over: Range,
) -> tuple[list[Box], list[Pipe]]:
    """Return the stocks and flows of a process as they are drawn."""
    boxes = [
        Box(
            one.name,
            words[one.name].label,
            words[one.name].number(told["stocks"][one.name]["count"]),
            stock_change(words[one.name], told["stocks"][one.name]),
            href(words[one.name], over.given) or None,
            "fresh" if told["stocks"][one.name]["count"] is not None else "empty",
        )
        for one in stocks
    ]
    names = {one.name for one in stocks}
    pipes = [
        Pipe(
            one.name,
            words[one.name].label,
            words[one.name].number(told["flows"][one.name]["count"]),
            told["flows"][one.name]["count"],
            _ends(told["flows"][one.name]["sources"], names),
            _ends(told["flows"][one.name]["sinks"], names),
            href(words[one.name], over.given) or None,
            "fresh" if told["flows"][one.name]["complete"] else "stale",
        )
        for one in flows
    ]
    return boxes, pipes


def _ends(named: Sequence[str | None], stocks: Collection[str]) -> list[str | None]:
    """Return the ends of a flow within its process: what is in none of its stocks is the outside."""
    return list(dict.fromkeys(name if name in stocks else None for name in named))


def main_of(stocks: Sequence[Stock], told: Mapping[str, Any]) -> str:
    """Return the name of the stock that a process is about: the one that most flows touch, of equals the first."""
    ends = [{*row["sources"], *row["sinks"]} for row in told["flows"].values()]
    return max((one.name for one in stocks), key=lambda name: sum(name in touched for touched in ends))


def _sides(
    main: str, told: Mapping[str, Any], words: Mapping[str, Caption], over: Range
) -> tuple[_Lines, _Lines]:
    """Return what came into a stock by which flow and what went, step by step: of a flow with several sources or sinks
    only what moved this one.
    """
    gains: list[tuple[str, Sequence[Point]]] = []
    losses: list[tuple[str, Sequence[Point]]] = []
    for name, row in told["flows"].items():
        comes, goes = main in row["sinks"], main in row["sources"]
        if comes == goes:
            continue
        points = []
        for step in told.get("steps", ()):
            is_over = over.is_over(step["end"])
            if over.complete and not is_over:
                continue
            moved = step["stocks"][main]["by_flow"].get(name)
            value = moved if comes or moved is None else -moved
            points.append(Point(step["start"], step["end"], value, is_over))
        (gains if comes else losses).append((words[name].label, points))
    return gains, losses


def _net(gains: _Lines, losses: _Lines) -> tuple[str, list[Point]] | None:
    if not gains or not losses:
        return None
    points = []
    for steps in zip(*(found for _name, found in (*gains, *losses)), strict=False):
        values = [one.value for one in steps]
        known = None not in values
        total = sum(values[: len(gains)]) - sum(values[len(gains) :]) if known else None
        points.append(Point(steps[0].start, steps[0].end, total, steps[0].complete))
    return _("Net"), points


def _rows(
    told: Mapping[str, Any], over: Range, flows: Sequence[str], stocks: Sequence[str]
) -> list[dict[str, Any]]:
    rows = []
    for step in told.get("steps", ()):
        complete = over.is_over(step["end"])
        if over.complete and not complete:
            continue
        row = point_row(
            step["start"].astimezone(over.zone), step["end"].astimezone(over.zone), None, complete
        )
        del row["value"]
        row |= {name: step["flows"][name]["count"] for name in flows}
        row |= {f"{name}.count": step["stocks"][name]["count"] for name in stocks}
        rows.append(row)
    return rows


def facet_names(stocks: Sequence[Stock], flows: Sequence[Flow]) -> list[str]:
    """Return the facets that a process can be split by, in declared order."""
    return list(
        dict.fromkeys(facet.name for one in (*stocks, *flows) for facet in getattr(one, "facets", ()) or ())
    )


def by_facet(
    stocks: Sequence[Stock],
    flows: Sequence[Flow],
    told: Mapping[str, Any],
    words: Mapping[str, Caption],
    facet: str,
    over: Range,
) -> dict[str, Any]:
    """Return a process by the values of a facet, the largest first, those beyond eight together: of each stock what it
    holds, what came and went, of each flow what it moved. What is not known by this facet is left out.

    Returns:
        ``stocks`` and ``flows``: the parts that are told, as ``label`` and ``href``; ``stock_rows`` and ``flow_rows``:
        dicts of ``value`` and ``cells``, which have ``number``, ``moved`` and ``href``.
    """
    held = {one.name: told["stocks"][one.name].get("facets") for one in stocks}
    moved = {one.name: told["flows"][one.name].get("facets") for one in flows}
    totals: dict[Any, int] = {}
    for counts in held.values():
        for value, row in (counts or {}).items():
            totals[value] = totals.get(value, 0) + (row["count"] or 0) + (row["in"] or 0) + (row["out"] or 0)
    for flow in moved.values():
        for value, number in (flow or {}).items():
            totals[value] = totals.get(value, 0) + (number or 0)
    ranked = sorted(totals, key=lambda value: (-totals[value], str(value)))
    lines: list[tuple[str, list[Any]]] = [
        (members.facet_text(value), [value]) for value in ranked[:MOST_VALUES]
    ]
    others = ranked[MOST_VALUES:]
    if others:
        label = ngettext("%(count)s other", "%(count)s others", len(others)) % {"count": len(others)}
        lines.append((label, others))
    of_stocks = [one for one in stocks if held[one.name] is not None]
    of_flows = [one for one in flows if moved[one.name] is not None]

    def link(name: str, values: Sequence[Any]) -> str:
        asked = members.given({facet: values[0]}) if len(values) == 1 else {}
        return href(words[name], {**over.given, **asked}) if asked else ""

    def stock_cell(name: str, values: Sequence[Any]) -> dict[str, str]:
        rows = [(held[name] or {}).get(value) for value in values]
        told = {which: _sum(rows, which) for which in ("count", "in", "out")}
        number = words[name].number
        moves = [
            number(told[which], sign=True) if which == "in" else f"{wording.MINUS}{number(told[which])}"
            for which in ("in", "out")
            if told[which]
        ]
        return {"number": number(told["count"]), "moved": " ".join(moves), "href": link(name, values)}

    def flow_cell(name: str, values: Sequence[Any]) -> dict[str, str]:
        counts = moved[name] or {}
        number = words[name].number(sum(counts.get(value) or 0 for value in values))
        return {"number": number, "moved": "", "href": link(name, values)}

    return {
        "stocks": [{"label": words[one.name].label, "href": href(words[one.name], over.given)} for one in of_stocks],
        "flows": [{"label": words[one.name].label, "href": href(words[one.name], over.given)} for one in of_flows],
        "stock_rows": [
            {"value": text, "cells": [stock_cell(one.name, values) for one in of_stocks]}
            for text, values in lines
            if of_stocks
        ],
        "flow_rows": [
            {"value": text, "cells": [flow_cell(one.name, values) for one in of_flows]}
            for text, values in lines
            if of_flows
        ],
    }  # fmt: skip


def _sum(rows: Iterable[Mapping[str, Any] | None], which: str) -> int | None:
    """Return what some values have together; a value that is not there has none, one that is not told is not known."""
    found = [0 if row is None else row[which] for row in rows]
    return None if None in found else sum(found)


def _sentence(main: str, told: Mapping[str, Any], words: Mapping[str, Caption], over: Range) -> str:
    """Return what came into the main stock and what went, in words."""
    row, own = told["stocks"][main], words[main]
    if row["in"] is None or row["out"] is None:
        return _("%(label)s, %(range)s: what came and went is not known.") % {
            "label": own.label,
            "range": over.text,
        }
    return _("%(label)s, %(range)s: %(came)s came, %(went)s went, %(net)s net.") % {
        "label": own.label,
        "range": over.text,
        "came": own.number(row["in"]),
        "went": own.number(row["out"]),
        "net": own.number(row["in"] - row["out"], sign=True),
    }
